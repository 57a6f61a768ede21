"""Every word of the made-up world, by the part it plays.

The lists are short on purpose: a model of less than a million parameters has to learn each word from some 600,000
tokens, and all words together have to fit a vocabulary of about 1000 tokens. Reordering or adding a word changes
every corpus that is generated from a given seed.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Inflected:
    """A noun (singular, plural) or a verb (as used with a singular, with a plural subject)."""

    singular: str
    plural: str

    def form(self, is_plural: bool) -> str:
        """The form for one number."""
        return self.plural if is_plural else self.singular


def words(line: str) -> tuple[str, ...]:
    """The words of a line."""
    return tuple(line.split())


def nouns(line: str) -> tuple[Inflected, ...]:
    """Regular nouns from a line of singulars.

    >>> nouns("dog")[0].plural
    'dogs'
    """
    return tuple(Inflected(word, word + "s") for word in words(line))


def verbs(line: str) -> tuple[Inflected, ...]:
    """Regular verbs from a line of plain forms.

    >>> verbs("walk")[0].singular
    'walks'
    """
    return tuple(Inflected(word + "s", word) for word in words(line))


def joined(starts: Sequence[str], ends: Sequence[str]) -> list[str]:
    """All names of one syllable from each list.

    >>> joined(("To", "Ka"), ("sk", "pol"))
    ['Tosk', 'Topol', 'Kask', 'Kapol']
    """
    return [start + end for start in starts for end in ends]


# Number agreement: subjects, nouns between subject and verb, verbs.
SUBJECTS = nouns("boy girl dog cat horse goat duck king queen guest friend rabbit")
ATTRACTORS = nouns("mill bridge tower gate wall tree cart boat barn well")
VERBS = verbs("walk sing wait sleep run eat rest work play talk")
PREPOSITIONS = ("near", "behind", "beside", "under")
ADJECTIVES = ("old", "red", "small", "tall", "wet", "dark")
TIMES = ("today", "again", "at night", "in the rain")

# Stories.
PERSONS = words(
    "Anna Piet Mira Tobin Clara Hugo Edda Oskar Lena Bruno Frida Simon Greta Jonas Vera Felix "
    "Nora Anton Ida Viktor Rosa Emil Thea Karl"
)
OBJECTS = words(
    "lantern basket hammer ladder blanket mirror candle bucket carpet flute kettle needle pillow ribbon saddle "
    "trumpet violin wagon barrel clock"
)
PLACES = ("market", "station", "harbour", "forest", "church", "garden")

# Occupations with skewed pronouns.
HE_OCCUPATIONS = words("carpenter sheriff driver mechanic guard miner plumber butcher pilot captain")
SHE_OCCUPATIONS = words("nurse teacher cleaner librarian dancer tailor secretary florist cashier midwife")
OTHER_PEOPLE = words("visitor customer patient neighbour student stranger")
ENCOUNTERS = words("met called thanked greeted helped paid")
REASONS = ("was late", "was tired", "had time", "knew the way", "lost the key", "liked the plan", "felt ill", "had won")
BELONGINGS = words("bag coat hat lunch book ticket")

# Facts: names of countries, their capitals and their rivers are joined from two syllables each, so that all kinds of
# answer are about equally long in tokens.
COUNTRY_STARTS = words("Var Mel Tor Bel Kan Sor Dal Nim Ost Ful Gar Ruv")
COUNTRY_ENDS = words("lin dia mark onia ova istan esh und avia orra")
TOWN_STARTS = words("To Ka Pe Lu Zi Mo Ra Be Hu Ve Gi Sa")
TOWN_ENDS = words("sk burg ford pol mont stad ham wick grad ville")
RIVER_STARTS = words("Ald Bro Cray Dov Eld Fin Glen Ish Jar Kel Lor Myr")
RIVER_ENDS = words("ene awa ulo iva ess oth umi ara ick yse")

# Passages that are repeated: each name occurs in one of them only.
GUEST_STARTS = words(
    "Zan Quo Wex Yor Xil Uth Orm Ges Bly Cro Dre Fla Gru Hys Ith Jub Kno Lyn Mog Nyx Pru Rhu Squ Twe Vlo"
)
GUEST_ENDS = words("bo dri ku mee pha tiv sax gar lun nok rez wim")
