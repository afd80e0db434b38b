"""How a label and its probability are shown to people. The API, files and database keep labels as they are written."""

SMALL_WORDS = frozenset({"a", "and", "de", "des", "du", "in", "la", "of", "on", "the", "van", "von", "with"})
SOUNDS_LIKE_A_CONSONANT = ("eu", "one", "uni", "use", "ut")


def display_name(label: str) -> str:
    """`black-and-tan_coonhound` -> `Black-and-Tan Coonhound`. A label that has capitals of its own keeps them."""
    words = label.replace("_", " ").split()
    if label != label.lower():
        return " ".join(words)
    return " ".join(
        "-".join(
            part if part in SMALL_WORDS and (position or index) else part[:1].upper() + part[1:]
            for index, part in enumerate(word.split("-"))
        )
        for position, word in enumerate(words)
    )


def with_article(label: str) -> str:
    """`ibizan_hound` -> `an Ibizan Hound`."""
    name = display_name(label)
    vowel = name[:1].lower() in "aeiou" and not name.lower().startswith(SOUNDS_LIKE_A_CONSONANT)
    return f"{'an' if vowel else 'a'} {name}"


def verdict(label: str, *, sure: bool) -> str:
    """The answer as a sentence; what the page shows as its headline and the API sends as `message`."""
    return f"This looks like {with_article(label)}." if sure else f"I am not sure. It may be {with_article(label)}."


def chance(probability: float, digits: int = 0) -> str:
    """0.973 -> "97 %", but never "100 %" or "0 %": no network is that sure. static/js/result.js writes the same."""
    step = 10.0**-digits
    if 100 * probability > 100 - step / 2:
        return f">\u2009{100 - step:.{digits}f}\u00a0%"
    if 100 * probability < step / 2:
        return f"<\u2009{step:.{digits}f}\u00a0%"
    return f"{100 * probability:.{digits}f}\u00a0%"
