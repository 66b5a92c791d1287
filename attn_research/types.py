"""Array aliases and the legend of dimension letters, one meaning each, used in every annotation.

B batch · T query or target length · S key or source length · N heads · K key-value heads · H head
width · D model width · F feed-forward width · V vocabulary · L layers · P patches · C channels.
`*B` stands for any number of leading batch axes. Annotations are checked only while tests run.
"""

from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key, PyTree, Shaped, UInt

__all__ = ["Array", "ArrayLike", "Bool", "Float", "Int", "Key", "PyTree", "Shaped", "UInt"]
