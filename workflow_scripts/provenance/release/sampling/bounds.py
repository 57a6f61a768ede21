"""What a sample without replacement proves about the whole population: exact bounds, in whole numbers.

Of N items W are wrong, which is not known; n are drawn without replacement and k of them found wrong, so k follows the
hypergeometric distribution. ``most_wrong`` is the largest W under which so few would still be found with a probability
of at least 1 - confidence: a one-sided Clopper-Pearson bound, with the hypergeometric in place of the binomial (which
it approaches from below as N grows). Everything is counted with integers; no floating point decides a bound.

Clopper and Pearson, Biometrika 26 (1934) 404-413, section 2; for finite populations Buonaccorsi, The American
Statistician 41 (1987) 215-218.
"""

import bisect
from fractions import Fraction
from math import comb


def tail(population: int, wrong: int, sampled: int, found: int) -> tuple[int, int]:
    """P(at most ``found`` of ``sampled`` are wrong) as numerator and denominator.

    >>> tail(population=10, wrong=5, sampled=2, found=0)
    (10, 45)
    """
    ways = sum(comb(wrong, k) * comb(population - wrong, sampled - k) for k in range(found + 1))
    return ways, comb(population, sampled)


def most_wrong(population: int, sampled: int, found: int, confidence: float) -> int:
    """Upper confidence bound on the number of wrong items of the population, ``found`` of ``sampled`` being wrong.

    >>> most_wrong(population=1000, sampled=0, found=0, confidence=0.95)
    1000
    >>> most_wrong(population=1000, sampled=59, found=0, confidence=0.95)
    48
    >>> most_wrong(population=1000, sampled=1000, found=7, confidence=0.95)
    7
    """
    doubt = 1 - Fraction(str(confidence))
    least, most = found, population - (sampled - found)
    while least < most:
        middle = (least + most + 1) // 2
        ways, of = tail(population, middle, sampled, found)
        if ways * doubt.denominator >= of * doubt.numerator:
            least = middle
        else:
            most = middle - 1
    return least


def share_right(population: int, sampled: int, found: int, confidence: float) -> float:
    """Share of the population that is right at least, with that confidence; 1 for an empty population.

    >>> share_right(population=1000, sampled=59, found=0, confidence=0.95)
    0.952
    """
    if not population:
        return 1.0
    return (population - most_wrong(population, sampled, found, confidence)) / population


def chance_to_find(population: int, wrong: int, sampled: int) -> float:
    """Probability that a sample holds at least one of ``wrong`` items.

    >>> round(chance_to_find(population=1000, wrong=50, sampled=59), 4)
    0.9558
    """
    ways, of = tail(population, wrong, sampled, 0)
    return float(1 - Fraction(ways, of))


def samples_to_find(population: int, share: float, probability: float) -> int:
    """Smallest sample that holds a wrong item with at least this probability if ``share`` of the population is wrong.

    Of a share that is no whole number of items, the next larger number is wrong, at least one.

    >>> samples_to_find(population=1000, share=0.05, probability=0.95)
    57
    """
    if not population:
        return 0
    wrong, doubt = max(1, -int(-Fraction(str(share)) * population // 1)), 1 - Fraction(str(probability))

    def suffices(sampled: int) -> bool:
        ways, of = tail(population, wrong, sampled, 0)
        return ways * doubt.denominator <= of * doubt.numerator

    most = 1
    while most < population and not suffices(most):  # from below: the numbers grow with the sample
        most = min(2 * most, population)
    return bisect.bisect_left(range(most + 1), True, key=suffices)
