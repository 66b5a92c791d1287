"""The word lists of the English-French grammar, as compact tables; entries.py inflects them.

Nouns are `english french gender [english plural]` by kind of thing. Adjectives, by the kind they
fit, are `english masculine [feminine]`; a leading + marks those that stand before the French noun.
Verbs are `english infinitive [past]` and, if irregular in French, after a slash the present
singular and plural, the stem of the imperfect, the future and the participle.
"""

NOUNS = {
    "person": """
        boy garçon m, girl fille f, man homme m men, woman femme f women, neighbor voisin m,
        teacher professeur m, doctor médecin m, nurse infirmière f, farmer fermier m, king roi m,
        queen reine f, lawyer avocat m, singer chanteuse f, painter peintre m, soldier soldat m,
        baker boulanger m, judge juge m, actress actrice f, dancer danseuse f, student étudiant m,
        child enfant m children, friend ami m, aunt tante f, uncle oncle m, cousin cousine f,
        brother frère m, sister sœur f, father père m, mother mère f, hero héros m, guest invité m,
        witch sorcière f, waitress serveuse f""",
    "animal": """
        cat chat m, dog chien m, horse cheval m, cow vache f, pig cochon m, goat chèvre f,
        bird oiseau m, fox renard m, wolf loup m wolves, mouse souris f mice, hen poule f,
        rabbit lapin m, animal animal m, beast bête f, turtle tortue f, frog grenouille f,
        donkey âne m, owl chouette f, bee abeille f, hamster hamster m""",
    "food": """
        apple pomme f, carrot carotte f, cake gâteau m, cheese fromage m, soup soupe f,
        mushroom champignon m, pear poire f, egg œuf m, tomato tomate f, sausage saucisse f,
        salad salade f, onion oignon m, lobster homard m, orange orange f""",
    "drink": "tea thé m, wine vin m, beer bière f, coffee café m, juice jus m",
    "thing": """
        key clé f, bottle bouteille f, knife couteau m knives, ball balle f, lamp lampe f,
        clock horloge f, umbrella parapluie m, basket panier m, bag sac m, toy jouet m,
        computer ordinateur m, chair chaise f, mirror miroir m, ladder échelle f, hammer marteau m,
        gift cadeau m, doll poupée f, jewel bijou m, tent tente f, ax hache f axes""",
    "clothing": """
        coat manteau m, hat chapeau m, shirt chemise f, dress robe f, skirt jupe f,
        scarf écharpe f scarves, shoe chaussure f, boot botte f, glove gant m, uniform uniforme m,
        sock chaussette f, belt ceinture f""",
    "container": """
        suitcase valise f, drawer tiroir m, closet placard m, crate caisse f, chest coffre m,
        bowl bol m, pocket poche f, bathtub baignoire f, bucket seau m, box boîte f""",
    "vehicle": """
        car voiture f, truck camion m, bus bus m, train train m, bicycle vélo m, motorcycle moto f,
        boat bateau m, tractor tracteur m, ambulance ambulance f, carriage calèche f""",
    "text": """
        book livre m, letter lettre f, poem poème m, message message m, article article m,
        speech discours m, story histoire f, song chanson f, novel roman m, answer réponse f""",
    "way": """
        street rue f, road route f, bridge pont m, path sentier m, square place f, field champ m,
        avenue avenue f, valley vallée f, garden jardin m, forest forêt f""",
    "water": "river rivière f, lake lac m, stream ruisseau m, canal canal m, pond étang m",
    "height": """
        mountain montagne f, hill colline f, wall mur m, tree arbre m, rock rocher m, tower tour f,
        roof toit m, cliff falaise f, fence clôture f, stairway escalier m""",
    "building": """
        house maison f, school école f, church église f, hotel hôtel m, museum musée m,
        castle château m, hospital hôpital m, library bibliothèque f, shop magasin m,
        factory usine f, restaurant restaurant m, theater théâtre m, farm ferme f,
        prison prison f, hangar hangar m""",
    "room": """
        room pièce f, kitchen cuisine f, bedroom chambre f, office bureau m, garage garage m,
        attic grenier m, cellar cave f, corridor couloir m, workshop atelier m""",
    "town": "village village m, city ville f, neighborhood quartier m, region région f",
    "idea": """
        problem problème m, idea idée f, question question f, secret secret m, lesson leçon f,
        plan projet m, decision décision f, truth vérité f, mistake erreur f, rule règle f,
        dream rêve m, law loi f""",
    "company": "company entreprise f, newspaper journal m, hotel hôtel m, agency agence f",
    "instrument": """
        piano piano m, guitar guitare f, violin violon m, flute flûte f, trumpet trompette f,
        harp harpe f, accordion accordéon m""",
    "game": "football football m, tennis tennis m, golf golf m, poker poker m",
}

ADJECTIVES = {
    "person": """
        tired fatigué, +young jeune, +old vieux vieille, +small petit, rich riche, poor pauvre,
        happy heureux, sad triste, famous célèbre, rude impoli, brave courageux, sick malade,
        proud fier fière, curious curieux, honest honnête, foreign étranger étrangère,
        lazy paresseux, +beautiful beau belle""",
    "animal": """
        +big grand, +small petit, black noir, white blanc blanche, brown brun, hungry affamé,
        +old vieux vieille, wild sauvage, gray gris, fast rapide, slow lent, thin maigre,
        +beautiful beau belle, sick malade, dangerous dangereux, calm calme""",
    "food": "fresh frais fraîche, salty salé, +good bon bonne, cold froid, hot chaud, sweet sucré",
    "drink": "cold froid, hot chaud, sweet sucré, +good bon bonne, bitter amer amère",
    "thing": """
        red rouge, blue bleu, green vert, yellow jaune, black noir, white blanc blanche, round rond,
        new neuf neuve, heavy lourd, light léger légère, broken cassé, useful utile, +big grand,
        +small petit, +beautiful beau belle, dirty sale, clean propre, expensive cher chère""",
    "clothing": """
        red rouge, blue bleu, green vert, yellow jaune, black noir, white blanc blanche, gray gris,
        new neuf neuve, warm chaud, light léger légère, elegant élégant, wet mouillé, dirty sale,
        +beautiful beau belle, +old vieux vieille""",
    "vehicle": """
        red rouge, blue bleu, green vert, yellow jaune, black noir, fast rapide, slow lent,
        heavy lourd, new neuf neuve, +old vieux vieille, +small petit, light léger légère""",
    "text": """
        short court, +long long longue, famous célèbre, interesting intéressant, sad triste,
        +old vieux vieille, +new nouveau nouvelle, modern moderne, strange étrange, useful utile""",
    "way": """
        wide large, narrow étroit, dangerous dangereux, calm calme, empty désert, dark sombre,
        +beautiful beau belle, flooded inondé, muddy boueux, sunny ensoleillé, +long long longue""",
    "water": "deep profond, calm calme, cold froid, +big grand, +beautiful beau belle",
    "height": "+high haut, steep raide, white blanc blanche, dangerous dangereux",
    "building": """
        +big grand, +small petit, +old vieux vieille, +new nouveau nouvelle, modern moderne,
        famous célèbre, empty vide, gray gris, +beautiful beau belle, ugly laid, closed fermé""",
    "room": """
        light clair, dark sombre, cold froid, +big grand, +small petit, empty vide, warm chaud,
        quiet tranquille, dirty sale, clean propre, wide large""",
    "idea": """
        strange étrange, +new nouveau nouvelle, simple simple, important important, wise sage,
        difficult difficile, useful utile, dangerous dangereux, +old vieux vieille""",
}
ADJECTIVES |= {"town": ADJECTIVES["building"], "container": ADJECTIVES["thing"]}
ADJECTIVES |= {"instrument": ADJECTIVES["thing"], "company": ADJECTIVES["building"]}

VERBS = """
    see voir saw / voit voient voy verra vu, help aider, love aimer, thank remercier,
    invite inviter, know connaître knew / connaît connaissent connaiss connaîtra connu,
    meet rencontrer met, follow suivre / suit suivent suiv suivra suivi, watch regarder,
    find trouver found, feed nourrir fed, hunt chasser, catch attraper caught, eat manger ate,
    cook cuire / cuit cuisent cuis cuira cuit, cut couper cut, prepare préparer, carry porter,
    buy acheter bought / achète achètent achet achètera acheté, sell vendre sold,
    serve servir / sert servent serv servira servi, drink boire drank / boit boivent buv boira bu,
    lose perdre lost, break casser broke, steal voler stole, hide cacher hid, repair réparer,
    take prendre took / prend prennent pren prendra pris, choose choisir chose,
    clean nettoyer / nettoie nettoient nettoy nettoiera nettoyé, wear porter wore, wash laver,
    forget oublier forgot, drive conduire drove / conduit conduisent conduis conduira conduit,
    paint peindre / peint peignent peign peindra peint,
    read lire read / lit lisent lis lira lu, write écrire wrote / écrit écrivent écriv écrira écrit,
    translate traduire / traduit traduisent traduis traduira traduit, finish finir,
    understand comprendre understood / comprend comprennent compren comprendra compris,
    visit visiter, build construire built / construit construisent construis construira construit,
    leave quitter left, destroy détruire / détruit détruisent détruis détruira détruit,
    open ouvrir / ouvre ouvrent ouvr ouvrira ouvert, cross traverser, explain expliquer,
    discover découvrir / découvre découvrent découvr découvrira découvert, accept accepter,
    run diriger ran, bite mordre bit, wake réveiller woke, block bloquer, climb escalader,
    sleep dormir slept / dort dorment dorm dormira dormi, work travailler, sing chanter sang,
    dance danser, smile sourire / sourit sourient souri sourira souri, walk marcher, cry pleurer,
    run courir ran / court courent cour courra couru, laugh rire / rit rient ri rira ri,
    leave partir left / part partent part partira parti, arrive arriver, fall tomber fell,
    play jouer, think penser thought, say dire said / dit disent dis dira dit,
    know savoir knew / sait savent sav saura su, believe croire / croit croient croy croira cru,
    fit tenir fit / tient tiennent ten tiendra tenu"""
PARTICIPLES = """
    see seen, know known, eat eaten, drink drunk, break broken, steal stolen, hide hidden,
    take taken, choose chosen, wear worn, forget forgotten, drive driven, write written,
    bite bitten, wake woken, run run"""
STATIVE = frozenset({"know", "love", "think", "believe", "fit"})  # past: the French imperfect
MOTION = frozenset({"partir", "arriver", "tomber"})  # passé composé with être

# What a subject of one kind does to objects of another; a colon tells two senses apart.
TRANSITIVE = {
    "person": {
        "person": "see know:connaître help love meet follow thank invite watch find",
        "animal": "feed see love hunt find follow catch watch",
        "food": "eat cook cut prepare buy sell serve",
        "drink": "drink prepare serve buy",
        "thing": "buy sell lose find break carry steal hide take clean repair",
        "clothing": "wear wash buy lose choose forget",
        "vehicle": "drive sell repair wash buy paint follow",
        "text": "read write translate finish understand",
        "building": "visit build leave:quitter see sell destroy",
        "room": "clean leave:quitter paint open",
        "way": "cross leave:quitter know:connaître",
        "idea": "explain discover accept forget understand",
        "company": "run:diriger leave:quitter sell",
    },
    "animal": {
        "animal": "follow see bite watch",
        "person": "follow watch bite love wake",
        "food": "eat steal find",
        "way": "cross leave:quitter",
    },
    "vehicle": {
        "way": "cross leave:quitter follow block",
        "town": "cross leave:quitter",
        "vehicle": "follow block",
    },
}
INTRANSITIVE = {
    "person": "sleep work sing dance smile walk cry run:courir laugh leave:partir arrive fall",
    "animal": "sleep walk run:courir leave:partir arrive fall",
    "vehicle": "arrive leave:partir",
}
SAYING = "know:savoir think say believe"

# A pronoun after "because" means the subject or the object, whichever its adjective fits: subject
# kind, verb, preposition, object kind, the adjectives of each.
PRONOUNS = (
    ("animal", "cross", "", "way", "tired fatigué, hungry affamé, weak faible, old vieux vieille",
     "wide large, dangerous dangereux, muddy boueux, flooded inondé"),
    ("animal", "climb", "", "height", "tired fatigué, lazy paresseux, young jeune, weak faible",
     "high haut, steep raide, smooth lisse, slippery glissant"),
    ("animal", "eat", "", "food", "sick malade, nervous nerveux, tired fatigué, young jeune",
     "salty salé, bitter amer amère, rotten pourri, cold froid"),
    ("vehicle", "cross", "", "way", "slow lent, heavy lourd, old vieux vieille, fragile fragile",
     "narrow étroit, wet mouillé, muddy boueux, flooded inondé"),
    ("thing", "fit", "in", "container",
     "big grand, thick épais épaisse, wide large, long long longue",
     "small petit, full plein, narrow étroit, tiny minuscule"),
)  # fmt: skip

NAMES = {
    "m": "paul pierre marc louis julien antoine hugo daniel victor",
    "f": "marie sophie claire camille alice emma anne louise julie",
}
FREQUENCY = "often souvent, always toujours, sometimes parfois, rarely rarement"
MANNER = """slowly lentement, quickly rapidement, quietly doucement, carefully prudemment,
    calmly calmement"""
CIRCUMSTANCE = "today aujourd'hui, here ici, there là, outside dehors"
NUMBERS = """two deux, three trois, four quatre, five cinq, six six, seven sept, eight huit,
    nine neuf, ten dix, eleven onze, twelve douze, twenty vingt"""
CITIES = "paris paris, london londres, rome rome, berlin berlin, geneva genève, lyon lyon"
COUNTRIES = """france france f, spain espagne f, italy italie f, germany allemagne f,
    canada canada m, japan japon m, portugal portugal m, brazil brésil m"""
SEASONS = "winter hiver, summer été, may mai, june juin, july juillet, october octobre"
SPANS = "hour heure f, day jour m, week semaine f, month mois m, year année f, minute minute f"

# Determiners: English, then the French masculine and feminine, or the plural.
SINGULAR = (
    ("the", "le", "la"), ("the", "le", "la"), ("the", "le", "la"), ("a", "un", "une"),
    ("a", "un", "une"), ("a", "un", "une"), ("his", "son", "sa"), ("her", "son", "sa"),
    ("my", "mon", "ma"), ("our", "notre", "notre"), ("their", "leur", "leur"),
    ("this", "ce", "cette"), ("every", "chaque", "chaque"),
)  # fmt: skip
PLURAL = (
    ("the", "les"), ("the", "les"), ("his", "ses"), ("her", "ses"), ("my", "mes"),
    ("our", "nos"), ("their", "leurs"), ("these", "ces"), ("several", "plusieurs"),
    ("some", "des"),
)  # fmt: skip
# Prepositions and the kinds of their objects.
PLACES = (
    ("in", "dans", "room building town container"),
    ("near", "près de", "building town way water height person"),
    ("behind", "derrière", "building height vehicle animal"),
    ("under", "sous", "height vehicle"),
    ("on", "sur", "height"),
    ("with", "avec", "person animal"),
    ("without", "sans", "person clothing"),
    ("for", "pour", "person company"),
)
OWNERS = {"building": "town", "way": "town", "room": "building"}  # after "of"; a person otherwise
DEGREES = (("very", "très"), ("too", "trop"), ("really", "vraiment"))
TIMES = (
    ("at this time", "à cette heure"), ("at that time", "à cette époque"),
    ("for a moment", "pendant un moment"), ("during the night", "pendant la nuit"),
    ("during the winter", "pendant le hiver"), ("before the war", "avant la guerre"),
    ("after the party", "après la fête"), ("before the meal", "avant le repas"),
)  # fmt: skip
# Conjunctions by tense: those after which both languages use the tense of the main clause.
JOINS = (
    (", and", ", et"), (", but", ", mais"), (", so", ", donc"), ("because", "parce que"),
    ("even though", "même si"), ("when", "quand"), ("while", "pendant que"), ("if", "si"),
)  # fmt: skip
CONJUNCTIONS = {"future": JOINS[:4], "past": JOINS[:6], "present": JOINS}
