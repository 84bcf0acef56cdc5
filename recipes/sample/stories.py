"""A grammar of short everyday stories: one line of events, told in 3 to 5 sentences.

A story is a plot: a list of sentence slots, each with several wordings. Who, where,
what and when are drawn once for the whole story, so its end speaks of the same person
and the same things as its beginning; a language model that has read such stories can
tell the true end of one from the end of another. All text here was written for this
project.
"""

import re

GIRLS = ("anna", "emma", "lucy", "sarah")
BOYS = ("tom", "ben", "jack", "peter")
SHE = {"he": "she", "his": "her", "him": "her"}
HE = {"he": "he", "his": "his", "him": "him"}

#: What is drawn once per story, whatever its plot.
COMMON = {
    "day": ("monday", "friday", "sunday"),
    "time": ("morning", "afternoon", "evening"),
    "color": ("red", "blue", "green", "white", "black", "yellow"),
    "number": ("two", "three", "four", "five", "six", "ten"),
    "kin": ("mother", "father", "sister", "brother"),
    "size": ("big", "small", "new"),
}

#: name -> (what only this plot draws, its four sentence slots with their wordings).
#: Words are few and come back in many plots on purpose: a quarter of an hour of
#: speech has to show each of them many times.
PLOTS = {
    "cooking": (
        {"dish": ("cake", "pie")},
        [
            (
                "on {day} {time} {name} wanted to make a {dish} for {his} {kin}",
                "{friend} came to dinner so {name} wanted to make a {size} {dish}",
            ),
            (
                "{he} bought {number} eggs and some milk at the shop for the {dish}",
                "{name} found milk and {number} eggs in the kitchen for the {dish}",
            ),
            (
                "{name} put the {dish} in the hot oven and waited in the kitchen",
                "soon the {dish} in the oven was hot and {name} called {his} {kin}",
            ),
            (
                "{his} {kin} ate the {dish} and asked {name} for more",
                "{name} and {friend} ate the hot {dish} and asked for more milk",
            ),
        ],
    ),
    "lost pet": (
        {"pet": ("dog", "cat", "bird")},
        [
            (
                "on {day} {time} the {color} {pet} of {name} ran out of the garden",
                "one {time} {name} could not find {his} {size} {color} {pet}",
            ),
            (
                "{name} looked for the {pet} in the park and in the garden",
                "{name} asked {friend} to look for the {size} {pet} in the park",
            ),
            (
                "then {friend} found the {color} {pet} under a tree in the park",
                "at last {name} found the {pet} under a {size} tree near the house",
            ),
            (
                "{name} thanked {friend} and took the {color} {pet} home",
                "{name} was glad and gave the {color} {pet} some milk at home",
            ),
        ],
    ),
    "school": (
        {"topic": ("music", "history")},
        [
            (
                "the teacher told {name} about a {topic} test at school on {day}",
                "on {day} {name} had a {size} {topic} test at school",
            ),
            (
                "{name} read {number} books about {topic} every {time}",
                "{he} and {friend} read {number} books about {topic} every {time}",
            ),
            (
                "on {day} the teacher gave {name} the {topic} test at school",
                "{name} sat near {friend} at school and read the {topic} test",
            ),
            (
                "the teacher said that the {topic} test of {name} was the best",
                "the teacher told {his} {kin} that {name} was the best in {topic}",
            ),
        ],
    ),
    "fishing": (
        {"water": ("river", "lake", "sea"), "weather": ("wind", "rain")},
        [
            (
                "{name} and {his} {kin} took the {color} boat to the {water}",
                "on {day} {name} and {friend} went to the {water} in a {size} boat",
            ),
            (
                "they sat in the boat and caught {number} fish in the {water}",
                "{name} caught {number} fish before the {weather} came",
            ),
            (
                "then a cold {weather} came over the {water} and the {color} boat",
                "soon the {weather} was cold and {name} took the {color} boat home",
            ),
            (
                "they made a fire near the {water} and ate the {number} fish",
                "{name} took the {number} fish home for dinner with {his} {kin}",
            ),
        ],
    ),
    "train": (
        {"goal": ("city", "farm", "sea")},
        [
            (
                "on {day} {name} took the train to the {goal} to see {friend}",
                "{name} wanted to see {friend} and went to the station on {day} {time}",
            ),
            (
                "{name} came late to the station and the {time} train was gone",
                "{he} ran to the station but the {time} train to the {goal} was late",
            ),
            (
                "{name} waited {number} hours at the station for the next train",
                "the next train to the {goal} came after {number} hours",
            ),
            (
                "{name} sat by the window and saw the {goal} in the {time}",
                "at last the train came to the {goal} and {name} saw {friend}",
            ),
        ],
    ),
    "illness": (
        {"part": ("head", "arm", "foot")},
        [
            (
                "one {time} {name} fell from a {size} tree and hurt {his} {part}",
                "on {day} {name} fell in the street and hurt {his} {part}",
            ),
            (
                "{his} {kin} called the doctor to look at the {part} of {name}",
                "{name} went to the doctor with {his} {kin} because {his} {part} hurt",
            ),
            (
                "the doctor told {name} to stay in bed for {number} days",
                "{friend} came and read {number} books to {name} in bed",
            ),
            (
                "after {number} days the {part} of {name} felt well again",
                "{name} thanked the doctor because {his} {part} felt well again",
            ),
        ],
    ),
    "garden": (
        {"plant": ("roses", "apples", "flowers")},
        [
            (
                "on {day} {name} put {number} {color} {plant} in the garden",
                "{his} {kin} gave {name} {number} {color} {plant} for the garden",
            ),
            (
                "every {time} {name} gave the {color} {plant} some water",
                "{friend} helped {name} to water the {plant} every {time}",
            ),
            (
                "the sun was warm and soon the {color} {plant} of {name} grew well",
                "after {number} weeks of sun and rain the {plant} grew well",
            ),
            (
                "{name} gave the best {plant} of the garden to {his} {kin}",
                "{friend} came to see the {color} {plant} in the garden of {name}",
            ),
        ],
    ),
    "saving": (
        {"thing": ("guitar", "bike", "kite"), "place": ("shop", "farm")},
        [
            (
                "{name} wanted to buy a {color} {thing} but had no money",
                "on {day} {name} saw a {color} {thing} in the shop but had no money",
            ),
            (
                "{he} worked at the {place} every {day} {time} for money",
                "{name} worked with {his} {kin} at the {place} for {number} weeks",
            ),
            (
                "after {number} weeks {name} had the money to buy the {thing}",
                "{name} took the money and bought the {color} {thing} at the shop",
            ),
            (
                "{name} and {friend} played with the {size} {thing} in the park",
                "{name} was glad and played with the {color} {thing} every {time}",
            ),
        ],
    ),
    "snow": (
        {"wear": ("coat", "hat", "shoes"), "drink": ("tea", "milk")},
        [
            (
                "the snow fell all night and {name} put on {his} {color} {wear}",
                "on {day} {name} put on {his} {wear} and ran out into the cold snow",
            ),
            (
                "{name} made a {size} snow man with {friend} in the park",
                "{name} and {friend} played in the snow on the hill all {time}",
            ),
            (
                "{name} lost {his} {color} {wear} in the cold snow on the hill",
                "soon the {color} {wear} of {name} was full of snow",
            ),
            (
                "at home {his} {kin} gave {name} some hot {drink} by the fire",
                "{name} sat by the fire with hot {drink} and felt warm again",
            ),
        ],
    ),
    "birthday": (
        {"gift": ("book", "ball", "hat", "kite"), "wrap": ("box", "bag")},
        [
            (
                "on {day} {name} wanted to buy a birthday gift for {friend}",
                "{name} went to the shop to buy a birthday gift for {friend}",
            ),
            (
                "{he} bought a {color} {gift} and put it into a {size} {wrap}",
                "the gift was a {color} {gift} in a {size} {wrap}",
            ),
            (
                "{friend} opened the {wrap} and saw the {color} {gift}",
                "{friend} opened the birthday gift and it was a {color} {gift}",
            ),
            (
                "{friend} said that the {gift} was the best birthday gift",
                "{friend} thanked {name} for the {size} {gift} and they ate cake",
            ),
        ],
    ),
    "window": (
        {"place": ("park", "garden", "street")},
        [
            (
                "{name} played with a {color} ball in the {place} on {day}",
                "one {time} {friend} and {name} played ball in the {place}",
            ),
            (
                "the {color} ball of {name} broke the window of a {size} house",
                "the {color} ball went over the wall and broke an old window",
            ),
            (
                "an old man came out of the house and looked at {name}",
                "{name} told the old man about the {color} ball and the window",
            ),
            (
                "{name} was sorry and gave the old man money for the window",
                "{name} was sorry and worked {number} days for the old man",
            ),
        ],
    ),
    "key": (
        {"place": ("bag", "box", "coat")},
        [
            (
                "{name} came home on {day} {time} but could not open the door",
                "on {day} {name} lost the {size} key of the {color} door",
            ),
            (
                "{name} looked for the key in the {color} {place} but it was gone",
                "{he} looked for the {size} key in the {place} and in the street",
            ),
            (
                "{name} called {his} {kin} and waited {number} hours at the door",
                "{friend} helped {name} to look for the key near the {color} door",
            ),
            (
                "then {his} {kin} came home and opened the {color} door",
                "{friend} found the {size} key in the {place} and opened the door",
            ),
        ],
    ),
}

_SLOT = re.compile(r"\{(\w+)\}")


def tell(rng, plot=None, sentences=None):
    """Tells one story.

    Arguments
    ---------
    rng : random.Random
        Where the choices come from.
    plot : str
        One of :data:`PLOTS`; drawn if not given.
    sentences : int
        How many of the plot's four slots are told: with 3, one of the two in the
        middle is left out; with 5, a fifth sentence closes the story.

    Returns
    -------
    list of str
        Its sentences, in lower case and without punctuation.

    Example
    -------
    >>> import random
    >>> story = tell(random.Random(1), plot="key")
    >>> 3 <= len(story) <= 5
    True
    """
    plot = plot or rng.choice(sorted(PLOTS))
    draws, slots = PLOTS[plot]
    sentences = sentences or rng.choice((3, 4, 4, 5))
    chosen = {name: rng.choice(values) for name, values in {**COMMON, **draws}.items()}
    chosen["name"] = rng.choice(GIRLS + BOYS)
    chosen["friend"] = rng.choice([n for n in GIRLS + BOYS if n != chosen["name"]])
    chosen.update(SHE if chosen["name"] in GIRLS else HE)
    slots = list(slots)
    if sentences == 3:
        slots.pop(rng.choice((1, 2)))
    if sentences == 5:
        slots.append(
            (
                "{name} told {his} {kin} about it in the {time}",
                "{name} was glad that {friend} came to see {him}",
            )
        )

    return [
        _SLOT.sub(lambda slot: chosen[slot[1]], rng.choice(wordings))
        for wordings in slots
    ]
