"""The parts of the math checker: read a completion's answer, bring it to one form, compare it within bounds."""
