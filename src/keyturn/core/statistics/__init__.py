"""Statistics, one file per question; numpy and scipy only. Every random function takes a generator.

=================== ======================================================================
``proportions``     one proportion: Wilson, and tails of the Jeffreys posterior
``pass_at_k``       success within k draws, unbiased, and beyond the draws from the posterior
``two_stage``       the same if the number of draws depended on the first of them
``bootstrap``       an interval for means and ratios over problems, or over clusters of them
``paired``          two arms on the same problems: paired bootstrap
``bands``           a whole curve at once: sup-t bands
``mcnemar``         two sets of solved problems: the exact test on the discordant ones
``entropies``       entropy of a distribution from few draws
=================== ======================================================================
"""
