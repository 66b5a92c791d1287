"""The word lists of the English-French grammar, as compact tables.

Nouns are `english french gender [english plural]` by semantic class. Adjectives are
`english masculine [feminine]`; a leading + marks those that stand before the French noun. Verbs are
`english infinitive [past]`, then after a slash, if irregular, the French present singular and
plural, imperfect stem, future and participle.
"""



NOUNS = {
    "person": """
        boy garçon m, girl fille f, man homme m men, woman femme f women, neighbor voisin m,
        teacher professeur m, doctor médecin m, nurse infirmière f, farmer fermier m, king roi m,
        queen reine f, prince prince m, princess princesse f, lawyer avocat m, singer chanteuse f,
        painter peintre m, soldier soldat m, baker boulanger m, butcher boucher m, judge juge m,
        actress actrice f, dancer danseuse f, student étudiant m, tourist touriste m, cook cuisinier m,
        child enfant m children, friend ami m, aunt tante f, uncle oncle m, cousin cousine f,
        brother frère m, sister sœur f, father père m, mother mère f, grandmother grand-mère f,
        hairdresser coiffeuse f, waitress serveuse f, sailor marin m, pilot pilote m, mayor maire m,
        gardener jardinier m, policeman policier m policemen, writer écrivain m, engineer ingénieur m,
        witness témoin m, guest invité m, victim victime f, thief voleur m thieves, hero héros m,
        saleswoman vendeuse f saleswomen, bride mariée f, nun religieuse f, witch sorcière f""",
    "animal": """
        cat chat m, dog chien m, horse cheval m, cow vache f, sheep mouton m sheep, goat chèvre f,
        bird oiseau m, fox renard m, wolf loup m wolves, bear ours m, mouse souris f mice, hen poule f,
        rabbit lapin m, duck canard m, animal animal m, beast bête f, turtle tortue f, frog grenouille f,
        giraffe girafe f, lion lion m, tiger tigre m, elephant éléphant m, monkey singe m, ant fourmi f,
        squirrel écureuil m, snake serpent m, donkey âne m, owl chouette f, mare jument f, bee abeille f,
        hamster hamster m, otter loutre f, swallow hirondelle f""",
    "food": """
        apple pomme f, bread pain m, cake gâteau m, cheese fromage m, pear poire f, soup soupe f,
        meat viande f, fish poisson m fish, egg œuf m, tomato tomate f, carrot carotte f, sausage saucisse f,
        salad salade f, onion oignon m, sandwich sandwich m, strawberry fraise f, orange orange f,
        mushroom champignon m, biscuit biscuit m, chicken poulet m, sauce sauce f, lobster homard m""",
    "drink": """
        water eau f, milk lait m, wine vin m, beer bière f, coffee café m, tea thé m, juice jus m,
        lemonade limonade f, cider cidre m, infusion infusion f, liquor liqueur f""",
    "thing": """
        key clé f, box boîte f, bottle bouteille f, knife couteau m knives, spoon cuillère f, ball balle f,
        lamp lampe f, clock horloge f, umbrella parapluie m, basket panier m, bag sac m, toy jouet m,
        phone téléphone m, computer ordinateur m, camera caméra f, chair chaise f, mirror miroir m,
        candle bougie f, ladder échelle f, hammer marteau m, rope corde f, glass verre m, plate assiette f,
        blanket couverture f, gift cadeau m, doll poupée f, pen stylo m, jewel bijou m, carpet tapis m,
        pillow oreiller m, tent tente f, watch montre f, vase vase m, statue statue f, ax hache f axes""",
    "clothing": """
        coat manteau m, hat chapeau m, shirt chemise f, dress robe f, skirt jupe f, scarf écharpe f scarves,
        jacket veste f, shoe chaussure f, boot botte f, glove gant m, tie cravate f, sweater pull m,
        sock chaussette f, cap casquette f, belt ceinture f, uniform uniforme m""",
    "container": """
        suitcase valise f, drawer tiroir m, closet placard m, crate caisse f, trunk coffre m,
        bowl bol m, pocket poche f, bathtub baignoire f, bucket seau m, safe coffre-fort m""",
    "vehicle": """
        car voiture f, truck camion m, bus bus m, train train m, bicycle vélo m, motorcycle moto f,
        boat bateau m, tractor tracteur m, van camionnette f, ambulance ambulance f, tank char m,
        carriage calèche f, wagon wagon m, sled luge f""",
    "text": """
        book livre m, letter lettre f, newspaper journal m, poem poème m, novel roman m, message message m,
        article article m, map carte f, report rapport m, speech discours m, story histoire f, song chanson f,
        dictionary dictionnaire m, magazine revue f""",
    "way": """
        street rue f, road route f, bridge pont m, path sentier m, square place f, field champ m,
        avenue avenue f, river rivière f, tunnel tunnel m, valley vallée f, garden jardin m,
        forest forêt f, desert désert m, stream ruisseau m, meadow prairie f, canal canal m""",
    "water": "river rivière f, lake lac m, stream ruisseau m, canal canal m, pond étang m",
    "height": """
        mountain montagne f, hill colline f, wall mur m, tree arbre m, rock rocher m, tower tour f,
        roof toit m, cliff falaise f, fence clôture f, stairway escalier m, dune dune f""",
    "building": """
        house maison f, school école f, church église f, hotel hôtel m, museum musée m, castle château m,
        hospital hôpital m, library bibliothèque f, shop magasin m, factory usine f, restaurant restaurant m,
        theater théâtre m, farm ferme f, prison prison f, palace palais m, bakery boulangerie f,
        cathedral cathédrale f, cottage chaumière f, hangar hangar m, barn grange f""",
    "room": """
        room pièce f, kitchen cuisine f, bedroom chambre f, office bureau m, garage garage m,
        attic grenier m, cellar cave f, corridor couloir m, workshop atelier m,
        classroom classe f""",
    "town": "village village m, city ville f, neighborhood quartier m, region région f, port port m",
    "idea": """
        problem problème m, idea idée f, question question f, answer réponse f, secret secret m,
        lesson leçon f, plan projet m, decision décision f, truth vérité f, mistake erreur f, rule règle f,
        dream rêve m, law loi f, reason raison f, danger danger m, method méthode f, solution solution f""",
    "company": "company entreprise f, newspaper journal m, hotel hôtel m, factory usine f, agency agence f",
    "instrument": """
        piano piano m, guitar guitare f, violin violon m, flute flûte f, trumpet trompette f, harp harpe f,
        drum tambour m, accordion accordéon m, organ orgue m, oboe hautbois m, clarinet clarinette f""",
    "game": "football football m, tennis tennis m, golf golf m, basketball basket m, rugby rugby m, poker poker m",
}

ADJECTIVES = {
    "person": """
        tired fatigué, young jeune, +old vieux vieille, +small petit, rich riche, poor pauvre, happy heureux,
        sad triste, famous célèbre, nice gentil, rude impoli, brave courageux, shy timide, sick malade,
        intelligent intelligent, jealous jaloux jalouse, proud fier, curious curieux, patient patient,
        angry furieux, honest honnête, foreign étranger étrangère, polite poli, serious sérieux, blond blond,
        +new nouveau nouvelle, lazy paresseux, worried inquiet inquiète, +beautiful beau belle""",
    "animal": """
        +big grand, +small petit, black noir, white blanc blanche, brown brun, +old vieux vieille, wild sauvage,
        hungry affamé, gray gris, tame docile, fast rapide, slow lent, +beautiful beau belle, sick malade,
        fat gras grasse, thin maigre, noisy bruyant, quiet calme, dangerous dangereux""",
    "food": "fresh frais fraîche, salty salé, +good bon bonne, cold froid, hot chaud, sweet sucré, delicious délicieux",
    "drink": "cold froid, hot chaud, sweet sucré, +good bon bonne, bitter amer, expensive cher chère, fresh frais fraîche",
    "thing": """
        red rouge, blue bleu, green vert, yellow jaune, black noir, white blanc blanche, round rond, +small petit,
        new neuf neuve, heavy lourd, light léger légère, broken cassé, precious précieux, +big grand, useful utile,
        +beautiful beau belle, dirty sale, clean propre, expensive cher chère, ancient ancien""",
    "clothing": """
        red rouge, blue bleu, green vert, yellow jaune, black noir, white blanc blanche, elegant élégant,
        new neuf neuve, warm chaud, light léger légère, torn déchiré, wet mouillé, dry sec sèche, gray gris,
        purple violet violette, +beautiful beau belle, +old vieux vieille, wide large, dirty sale""",
    "vehicle": """
        red rouge, blue bleu, green vert, yellow jaune, black noir, fast rapide, slow lent, heavy lourd,
        new neuf neuve, +old vieux vieille, +small petit, +big grand, light léger légère, noisy bruyant""",
    "text": """
        short court, long long longue, famous célèbre, boring ennuyeux, interesting intéressant, funny drôle,
        +old vieux vieille, +new nouveau nouvelle, sad triste, modern moderne, secret secret secrète,
        useful utile, strange étrange, difficult difficile, recent récent""",
    "way": """
        wide large, narrow étroit, dangerous dangereux, quiet calme, empty désert, +beautiful beau belle,
        flooded inondé, muddy boueux, steep raide, dark sombre, +long long longue, green vert""",
    "water": "deep profond, calm calme, cold froid, +big grand, +small petit, +beautiful beau belle",
    "height": "+high haut, steep raide, white blanc blanche, dangerous dangereux, +big grand, +old vieux vieille",
    "building": """
        +big grand, +small petit, +old vieux vieille, +new nouveau nouvelle, modern moderne, famous célèbre,
        empty vide, gray gris, +beautiful beau belle, ugly laid, closed fermé, open ouvert, public public publique""",
    "room": """
        light clair, dark sombre, cold froid, +big grand, +small petit, empty vide, comfortable confortable,
        warm chaud, quiet calme, dirty sale, clean propre, wide large""",
    "idea": """
        strange étrange, +new nouveau nouvelle, simple simple, important important, difficult difficile,
        wise sage, useful utile, dangerous dangereux, +big grand, +old vieux vieille, serious sérieux""",
}
ADJECTIVES |= {"town": ADJECTIVES["building"], "container": ADJECTIVES["thing"]}
ADJECTIVES |= {"instrument": ADJECTIVES["thing"], "company": ADJECTIVES["building"]}

VERBS = """
    see voir saw / voit voient voy verra vu, help aider, love aimer, thank remercier, invite inviter,
    know connaître knew / connaît connaissent connaiss connaîtra connu, meet rencontrer met,
    follow suivre / suit suivent suiv suivra suivi, admire admirer, watch regarder, hate détester,
    call appeler / appelle appellent appel appellera appelé, greet saluer, find trouver found,
    protect protéger / protège protègent protége protégera protégé, feed nourrir fed, hunt chasser,
    catch attraper caught, eat manger ate, cook cuire / cuit cuisent cuis cuira cuit, taste goûter,
    cut couper cut, prepare préparer, buy acheter bought / achète achètent achet achètera acheté,
    sell vendre sold, serve servir / sert servent serv servira servi, order commander, pour verser,
    drink boire drank / boit boivent buv boira bu, lose perdre lost, break casser broke, sew coudre / coud
    cousent cous coudra cousu, carry porter, steal voler stole, hide cacher hid, show montrer,
    take prendre took / prend prennent pren prendra pris, repair réparer, choose choisir chose,
    clean nettoyer / nettoie nettoient nettoy nettoiera nettoyé, wear porter wore, wash laver,
    receive recevoir / reçoit reçoivent recev recevra reçu, iron repasser, fold plier, park garer,
    forget oublier forgot, drive conduire drove / conduit conduisent conduis conduira conduit,
    stop arrêter stopped, rent louer, push pousser, paint peindre / peint peignent peign peindra peint,
    read lire read / lit lisent lis lira lu, write écrire wrote / écrit écrivent écriv écrira écrit,
    translate traduire / traduit traduisent traduis traduira traduit, publish publier, finish finir,
    understand comprendre understood / comprend comprennent compren comprendra compris,
    visit visiter, build construire built / construit construisent construis construira construit,
    leave quitter left, rob cambrioler robbed, destroy détruire / détruit détruisent détruis détruira
    détruit, lock verrouiller, open ouvrir / ouvre ouvrent ouvr ouvrira ouvert, cross traverser,
    explore explorer, explain expliquer, discover découvrir / découvre découvrent découvr découvrira
    découvert, accept accepter, remember retenir / retient retiennent reten retiendra retenu,
    discuss discuter, reject refuser, run diriger ran, found fonder, bite mordre bit, wake réveiller woke,
    smell flairer, devour dévorer, block bloquer, hit heurter hit, tow remorquer, climb escalader,
    sleep dormir slept / dort dorment dorm dormira dormi, work travailler, sing chanter sang,
    dance danser, smile sourire / sourit sourient souri sourira souri, walk marcher, cry pleurer,
    run courir ran / court courent cour courra couru, wait attendre, laugh rire / rit rient ri rira ri,
    leave partir left / part partent part partira parti, arrive arriver, fall tomber fell,
    swim nager swam, shout crier, travel voyager, speak parler spoke, breathe respirer, jump sauter,
    play jouer, think penser thought, say dire said / dit disent dis dira dit,
    know savoir knew / sait savent sav saura su, believe croire / croit croient croy croira cru,
    fit tenir fit / tient tiennent ten tiendra tenu, disappear disparaître /
    disparaît disparaissent disparaiss disparaîtra disparu"""
STATIVE = frozenset({"know", "love", "hate", "think", "believe"})  # past: the French imperfect
MOTION = frozenset({"partir", "arriver", "tomber"})  # passé composé with être

# What a subject of one class does to objects of another; a colon tells two senses apart.
TRANSITIVE = {
    "person": {
        "person": "see know:connaître help love meet follow thank invite admire call watch hate protect greet find",
        "animal": "feed see love hunt find follow catch watch",
        "food": "eat cook taste cut prepare buy sell serve",
        "drink": "drink order pour taste serve",
        "thing": "buy sell lose find break carry steal hide take clean receive repair show choose",
        "clothing": "wear wash buy iron lose sew fold forget",
        "vehicle": "drive sell repair wash park stop rent push paint",
        "text": "read write translate publish finish understand",
        "building": "visit build leave:quitter see sell admire rob destroy",
        "room": "clean leave:quitter rent lock paint open",
        "way": "cross leave:quitter know:connaître explore",
        "idea": "explain discover accept forget understand remember discuss reject",
        "company": "run:diriger found leave:quitter sell",
    },
    "animal": {
        "animal": "follow see bite watch",
        "person": "follow watch bite love wake",
        "food": "eat smell steal find devour",
        "way": "cross leave:quitter explore",
    },
    "vehicle": {
        "way": "cross leave:quitter follow block",
        "town": "cross leave:quitter",
        "vehicle": "follow hit tow",
    },
}
INTRANSITIVE = {
    "person": "sleep work sing dance smile walk cry run:courir laugh leave:partir arrive fall swim shout travel speak breathe disappear",
    "animal": "sleep walk run:courir leave:partir arrive fall swim breathe jump disappear",
    "vehicle": "arrive leave:partir disappear",
}
SAYING = "know:savoir think say believe"

NAMES = {
    "m": "paul pierre marc louis jean julien antoine nicolas thomas hugo lucas daniel simon victor arthur",
    "f": "marie sophie claire julie camille alice emma anne louise charlotte lucie sarah manon jeanne pauline",
}
FREQUENCY = "often souvent, always toujours, sometimes parfois, rarely rarement"
MANNER = """slowly lentement, quickly rapidement, quietly doucement, carefully prudemment, calmly calmement,
    today aujourd'hui, here ici, there là"""
NUMBERS = """two deux, three trois, four quatre, five cinq, six six, seven sept, eight huit, nine neuf,
    ten dix, eleven onze, twelve douze, twenty vingt"""
CITIES = "paris paris, london londres, rome rome, berlin berlin, madrid madrid, geneva genève, lyon lyon"
COUNTRIES = """france france f, spain espagne f, italy italie f, germany allemagne f, china chine f,
    canada canada m, japan japon m, portugal portugal m, brazil brésil m, belgium belgique f"""
SEASONS = "winter hiver, summer été, may mai, june juin, july juillet, august août, october octobre"
# Spans of time that the three senses of "for", "every" and "next to a number" share.
SPANS = "hour heure f, day jour m, week semaine f, month mois m, year an m, minute minute f, night nuit f"

# A pronoun after "because" means the subject or the object, whichever its adjective fits:
# (subject class, verb, its preposition or "", object class, adjectives of each).
PRONOUNS = [
    ("animal", "cross", "", "way",
     "tired fatigué, hungry affamé, weak faible, thirsty assoiffé, old vieux vieille",
     "wide large, dangerous dangereux, muddy boueux, steep raide, flooded inondé"),
    ("animal", "climb", "", "height",
     "tired fatigué, lazy paresseux, young jeune, fat gras grasse, timid craintif",
     "high haut, steep raide, smooth lisse, slippery glissant, straight droit"),
    ("animal", "eat", "", "food",
     "sick malade, nervous nerveux, thirsty assoiffé, sleepy somnolent, timid craintif",
     "salty salé, spicy épicé, rotten pourri, dry sec sèche, cold froid"),
    ("vehicle", "cross", "", "way",
     "slow lent, heavy lourd, old vieux vieille, loaded chargé, fragile fragile",
     "narrow étroit, steep raide, muddy boueux, flooded inondé, dark sombre"),
    ("thing", "fit", "in", "container",
     "big grand, thick épais épaisse, wide large, long long longue, round rond",
     "small petit, full plein, narrow étroit, short court, tight serré"),
]  # fmt: skip
