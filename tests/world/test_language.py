"""Plain English to facts: sentences as people write them, what is assumed, what is refused, what is reported."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moc.storyboard import load_storyboard
from moc.world.language import ShotText, StoryText, Understanding, encode, understand_story
from moc.world.schema import CAPTION_TOKENS, FACT_ID, FACTS, GLOBAL_TOKENS, Fact
from moc.world.vocabulary import LEXICON

MIRA = "a woman with short red hair and a yellow raincoat"
LEO = "a tall boy"
REX = "the old dog"
_STORYBOARDS = sorted((Path(__file__).parents[2] / "storyboards").glob("*.yaml"))


def story(*prompts: str | ShotText, **more: object) -> Understanding:
    shots = [p if isinstance(p, ShotText) else ShotText(p) for p in prompts]
    options: dict[str, object] = {"characters": {"mira": MIRA, "leo": LEO, "rex": REX}, **more}
    return understand_story(StoryText(shots=shots, **options))  # type: ignore[arg-type]


def actions(understood: Understanding, shot: int = 1) -> dict[str, str]:
    names = {slot: name for name, slot in understood.slots.items()}
    return {names[f.slot]: f.value for f in understood.shots[shot - 1].facts if f.attribute == "action"}


def looks(text: str) -> dict[str, str]:
    """Facts of a character's description."""
    understood = understand_story(StoryText(characters={"zora": text}, shots=[("{zora}", None, None)]))
    return {f.attribute: f.value for f in understood.facts if f.slot == 1}


def setting(understood: Understanding, shot: int = 1) -> dict[str, str]:
    """Facts of a shot and its scene."""
    return {f.attribute: f.value for f in understood.shots[shot - 1].facts if f.slot == 0 or f.attribute == "place"}


def test_the_story_of_the_reference() -> None:
    understood = understand_story(
        StoryText(
            global_prompt="An autumn afternoon in a small town, warm film look.",
            characters={"mira": MIRA},
            scenes={"cafe": "a corner cafe with fogged windows"},
            shots=[
                ("{mira} stirs her coffee by the window", "cafe", "wide"),
                ("{mira} looks at her phone on the riverbank", None, None),
            ],
        )
    )
    assert understood.problems == []
    assert understood.notes == []
    assert understood.slots == {"mira": 1, "cafe": 7, "river": 8}
    assert set(understood.facts) == {
        Fact(1, "kind", "woman"), Fact(1, "hair", "ginger"), Fact(1, "coat", "yellow"),
        Fact(7, "place", "cafe"),
    }  # fmt: skip
    assert set(understood.shots[0].facts) == {
        Fact(7, "place", "cafe"), Fact(0, "camera", "wide"), Fact(0, "time", "day"), Fact(0, "weather", "clear"),
        Fact(1, "kind", "woman"), Fact(1, "hair", "ginger"), Fact(1, "coat", "yellow"), Fact(1, "action", "drink"),
    }  # fmt: skip
    assert actions(understood, 2) == {"mira": "phone"}
    assert setting(understood, 2) == {"place": "river", "camera": "medium", "time": "day", "weather": "clear"}
    assert ("yellow raincoat", "mira: coat = yellow") in understood.words[0].understood
    assert {"autumn", "warm", "film", "fogged"} <= set(understood.words[0].silent)
    assert all(words.unknown == [] for words in understood.words)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (MIRA, {"kind": "woman", "hair": "ginger", "coat": "yellow"}),
        ("a girl in a striped red coat and a green top hat",
         {"kind": "girl", "coat": "red", "pattern": "stripes", "hat": "top hat", "hat_color": "green"}),
        ("a boy in a red hat", {"kind": "boy", "hat_color": "red"}),
        ("a small brown dog without a hat or scarf",
         {"kind": "dog", "size": "small", "hair": "brown", "hat": "none", "scarf": "none"}),
        ("a man, tall and blonde, dressed in blue", {"kind": "man", "size": "tall", "hair": "golden", "coat": "blue"}),
        ("an old lady of medium height with silver hair", {"kind": "woman", "size": "medium", "hair": "white"}),
        ("a robot. It has blue metal plating and a golden crown.",
         {"kind": "robot", "hair": "blue", "hat": "crown", "hat_color": "yellow"}),
        ("a cat; her coat is crimson, her striped scarf navy", {"kind": "cat", "coat": "red", "scarf": "blue"}),
        ("a bear wearing a violet hoodie with polka dots", {"kind": "bear", "coat": "purple", "pattern": "dots"}),
        ("a woman with a red bow in her hair", {"kind": "woman", "hat": "bow", "hat_color": "red"}),
        ("a red-haired girl with a plain white shirt",
         {"kind": "girl", "hair": "ginger", "coat": "white", "pattern": "plain"}),
        ("a woman with her big black dog in a red scarf", {"kind": "woman"}),
        ("a robot dog", {"kind": "dog"}),
        ("a woman with a red handbag and a quilted yellow coat", {"kind": "woman", "coat": "yellow"}),
        ("a boy with a red and white striped shirt", {"kind": "boy", "coat": "red", "pattern": "stripes"}),
        ("she has black curls", {"kind": "woman", "hair": "black"}),
        ("a rabbit, no hat, pinstripes", {"kind": "rabbit", "hat": "none", "pattern": "pinstripes"}),
    ],
)  # fmt: skip
def test_descriptions(text: str, expected: dict[str, str]) -> None:
    assert looks(text) == expected


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("{mira} and {leo} walk", {"mira": "walk", "leo": "walk"}),
        ("{mira} reads while {leo} sleeps", {"mira": "read", "leo": "sleep"}),
        ("{mira} walks with {leo}", {"mira": "walk", "leo": "walk"}),
        ("{mira} with {leo} walks", {"mira": "walk", "leo": "walk"}),
        ("{mira} waves at {leo}", {"mira": "wave", "leo": "stand"}),
        ("{mira} waves at {leo} and runs", {"mira": "wave", "leo": "stand"}),
        ("{mira} sits next to {leo}, who plays the guitar", {"mira": "sit", "leo": "guitar"}),
        ("{mira} sits down and reads an old book", {"mira": "read"}),
        ("{mira} approaches {leo}", {"mira": "walk", "leo": "stand"}),
        ("{mira} passes by {leo} and dances", {"mira": "dance", "leo": "stand"}),
        ("{mira} dances alongside {leo}", {"mira": "dance", "leo": "dance"}),
        ("{mira} near {leo} waves", {"mira": "wave", "leo": "stand"}),
        ("{mira} near {leo}, who waves", {"mira": "stand", "leo": "wave"}),
        ("Walking past {leo}, {mira} smiles", {"mira": "walk", "leo": "stand"}),
        ("Passing by {leo}", {"leo": "walk"}),
        ("Behind {leo}, {mira} dances", {"mira": "dance", "leo": "stand"}),
        ("Close-up of {leo}, {mira} dancing", {"mira": "dance", "leo": "dance"}),
        ("Pan to {leo}. He waves", {"leo": "wave"}),
        ("{mira} walks her dog", {"mira": "walk", "rex": "walk"}),
        ("Reading a book, {mira} waits for {leo}", {"mira": "read", "leo": "stand"}),
        ("{mira} and {leo} sit; she drinks tea and he reads", {"mira": "drink", "leo": "read"}),
        ("{mira} isn't sleeping", {"mira": "stand"}),
        ("{mira}", {"mira": "stand"}),
        ("Mira strolls under an umbrella", {"mira": "umbrella"}),
        ("The dog sleeps by the fire", {"rex": "sleep"}),
        ("a cat jumps and the dog runs", {"cat": "jump", "rex": "run"}),
        ("two cats dance", {"cat": "dance", "cat 2": "dance"}),
        ("the dog yodels and {leo} jumps", {"rex": "stand", "leo": "jump"}),
        ("while {leo} naps, {mira} strums her guitar", {"mira": "guitar", "leo": "sleep"}),
        ("the waves roll in as {mira} strolls by", {"mira": "walk"}),
        ("{mira} takes a selfie with {leo}", {"mira": "phone", "leo": "phone"}),
        ("It starts to snow", {}),
        ("{leo} holds a mug of cocoa", {"leo": "drink"}),
        ("an empty street", {}),
    ],
)
def test_who_does_what(prompt: str, expected: dict[str, str]) -> None:
    assert actions(story(prompt)) == expected


@pytest.mark.parametrize(
    "joining", ["past", "to", "at", "towards", "beside", "behind", "near", "for", "from", "next to"]
)
def test_whom_a_preposition_names_does_not_do_it_too(joining: str) -> None:
    assert actions(story(f"{{mira}} walks {joining} {{leo}}")) == {"mira": "walk", "leo": "stand"}
    assert actions(story(f"near {{mira}}, {{leo}} runs {joining} the gate")) == {"mira": "stand", "leo": "run"}


def test_pronouns_reach_back_to_earlier_shots() -> None:
    understood = story("{mira} and {leo} run", "She sleeps", "He sits", "They dance")
    assert [actions(understood, n) for n in (2, 3, 4)] == [
        {"mira": "sleep"},
        {"leo": "sit"},
        {"leo": "dance"},  # "they" are the cast of the shot before
    ]


def test_an_implicit_character_stays_the_same() -> None:
    understood = story("a white cat in a red scarf sleeps", "{mira} reads", "the cat jumps", characters={"mira": MIRA})
    slot = understood.slots["cat"]
    looks = {Fact(slot, "kind", "cat"), Fact(slot, "hair", "white"), Fact(slot, "scarf", "red")}
    assert looks <= set(understood.shots[0].facts)
    assert looks <= set(understood.shots[2].facts)
    assert not looks & set(understood.facts)  # an earlier shot must not change for who a later prompt mentions
    assert understood.shots[2].cast == ["cat"]


def test_looks_said_in_a_shot_are_facts_of_its_caption() -> None:
    understood = story("In a red hat, {mira} waves", "{leo} in a green coat and {mira} walk")
    assert Fact(1, "hat_color", "red") in understood.shots[0].facts
    assert Fact(2, "coat", "green") in understood.shots[1].facts
    assert not {Fact(1, "hat_color", "red"), Fact(2, "coat", "green")} & set(understood.facts)
    assert actions(understood, 2) == {"leo": "walk", "mira": "walk"}


def test_a_contradiction_is_noted() -> None:
    understood = story("{mira} in a blue coat waves")
    assert Fact(1, "coat", "blue") in understood.shots[0].facts
    assert any(note.startswith("shot 1: 'blue coat' contradicts mira's coat (yellow)") for note in understood.notes)


def test_scenes_are_named_found_made_up_and_kept() -> None:
    understood = story(
        ShotText("{mira} waits", scene="bar"),
        "{mira} walks along the canal",
        "{mira} sits",
        "{leo} sits in the bakery",
        "{leo} looks at the lake",
        scenes={"bar": "a coffee shop with pink walls, a red awning and a clock"},
    )
    assert [shot.scene for shot in understood.shots] == ["bar", "river", "river", "bar", "river"]
    assert {Fact(7, "wall", "rose"), Fact(7, "accent", "red"), Fact(7, "feature", "clock")} <= set(understood.facts)


def test_the_first_place_is_the_global_prompts_or_the_park() -> None:
    assert setting(story("{mira} waits"))["place"] == "park"
    assert "shot 1 names no place; it plays at: park" in story("{mira} waits").notes
    assert setting(story("{mira} waits", global_prompt="A day by the sea"))["place"] == "beach"


def test_time_and_weather_come_from_the_prompt_the_scene_or_the_story() -> None:
    understood = story(
        "{mira} waits",
        ShotText("{mira} waits", scene="s"),
        ShotText("{mira} waits at noon on a clear day", scene="s"),
        scenes={"s": "a street in the snow at sunset, with a bench"},
        global_prompt="A rainy night.",
    )
    got = [[setting(understood, n).get(a) for a in ("time", "weather", "prop")] for n in (1, 2, 3)]
    assert got == [["night", "rain", None], ["sunset", "snow", "bench"], ["day", "clear", "bench"]]


def test_the_camera_field_wins_over_the_prompt() -> None:
    understood = story("Close-up: {mira} smiles", ShotText("Close-up: {mira} smiles", camera="slow zoom"))
    assert [setting(understood, n)["camera"] for n in (1, 2)] == ["close", "zoom"]
    strange = story(ShotText("{mira}", camera="sepia"))
    assert strange.words[1].unknown == []
    assert strange.notes[0] == "shot 1: camera 'sepia' is not known; it knows wide, medium, close, pan and zoom"


def test_things_of_the_place_are_the_scenes() -> None:
    understood = story("A red boat drifts on the river", "a red boat in the kitchen")
    assert Fact(understood.slots["river"], "accent", "red") in understood.shots[0].facts
    assert not any(f.attribute == "accent" for f in understood.shots[1].facts)
    assert setting(story("{rex} runs to the red train"))["place"] == "station"


def test_what_can_not_be_drawn_is_noted_and_stays_open() -> None:
    understood = story("{mira} waves", characters={"mira": "a woman in a black coat"})
    assert [f.attribute for f in understood.facts if f.slot == 1] == ["kind"]
    assert understood.notes[0].startswith("characters.mira: 'black coat' can't be drawn and stays open; coats come in")


def test_a_description_without_kind_or_place_is_noted() -> None:
    understood = story(ShotText("{mo}", scene="there"), characters={"mo": "an old painter"}, scenes={"there": "quiet"})
    assert Fact(1, "kind", "woman") in understood.facts
    assert [note.rpartition(";")[0] for note in understood.notes[:2]] == [
        "characters.mo: no kind is named; mo is drawn as a woman",
        "scenes.there: no place is named; there is drawn as a park",
    ]
    named_by_id = story(ShotText("{cat}", scene="beach"), characters={"cat": "small"}, scenes={"beach": "warm"})
    assert {Fact(1, "kind", "cat"), Fact(7, "place", "beach")} <= set(named_by_id.facts)


@pytest.mark.parametrize(
    ("text", "noun"),
    [
        ("a wombat", "wombat"),
        ("quiet, a tall hairy wombat in a yoellow coat", "wombat"),
        ("a tall hairy emu wombat waddling about in a yoellow coat", "wombat"),
        ("a kind of wombat with a zorble", "wombat"),
        ("with a zorble", ""),
    ],
)
def test_the_note_names_the_word_that_is_no_kind_or_place(text: str, noun: str) -> None:
    understood = story(ShotText("{zed}", scene="there"), characters={"zed": text}, scenes={"there": text})
    kind = f"'{noun}' is not a kind it knows" if noun else "no kind is named"
    place = f"'{noun}' is not a place it knows" if noun else "no place is named"
    assert understood.notes[0].startswith(f"characters.zed: {kind}; zed is drawn as a woman; kinds: woman, man,")
    assert f"scenes.there: {place}; there is drawn as a park; places: " in understood.notes[1]


def test_the_nearest_kinds_and_shops_are_drawn_and_noted() -> None:
    animals = {"zed": "a penguin", "pip": "a guinea pig", "oz": "an otter"}
    understood = story(ShotText("{zed} {pip}", scene="deli"), "{oz}", characters=animals, scenes={"deli": "cosy"})
    assert {Fact(1, "kind", "bear"), Fact(2, "kind", "rabbit"), Fact(7, "place", "cafe")} <= set(understood.facts)
    assert understood.notes == [
        "characters.zed: a penguin is drawn as a bear", "characters.pip: a guinea pig is drawn as a rabbit",
        "characters.oz: an otter is drawn as a bear",
    ]  # fmt: skip
    assert setting(story("{leo} buys bread in the shop"))["place"] == "cafe"
    assert setting(story("{leo} waits at a shop in the street"))["place"] == "street"


def test_unknown_words_come_with_suggestions() -> None:
    understood = story("{mira} sipps her zorble")
    unknown = dict(understood.words[1].unknown)
    assert "sips" in unknown["sipps"]
    assert unknown["zorble"] == ()


@pytest.mark.parametrize(
    ("prompt", "standing"),
    [
        ("{mira} explodes", ["mira"]),
        ("{mira} and {leo} explode at noon", ["mira", "leo"]),
        ("{mira} sits, {leo} explodes", ["leo"]),
        ("{mira} sits and {leo} explodes", ["leo"]),
        ("{mira} with {leo}, explodes", ["mira"]),
        ("{mira} explodes and waves", []),
        ("{mira} at the zorble", []),
        ("{mira} waves at a zorble", []),
        ("A zorble, and {mira}", []),
    ],
)
def test_who_stands_because_the_verb_is_unknown_is_noted(prompt: str, standing: list[str]) -> None:
    notes = [note for note in story(prompt).notes if "does is understood" in note]
    assert notes == [f"shot 1: nothing {name} does is understood; {name} stands" for name in standing]


def test_slots_do_not_depend_on_later_shots() -> None:
    understood = story("{leo} waits")
    assert understood.slots == {"mira": 1, "leo": 2, "rex": 3, "park": 7}
    assert "mira is described but seen in no shot" in understood.notes
    longer = story("{leo} waits", "{mira} waits by the river with a cat")
    assert longer.slots == understood.slots | {"cat": 4, "river": 8}
    assert longer.facts == understood.facts


def test_who_is_not_seen_gives_up_a_slot_where_they_are_scarce() -> None:
    many = {f"p{i}": "a man" for i in range(8)}
    understood = story("{p7} walks", "{p1} walks with a dog", characters=many)
    assert understood.problems == []
    assert {name: slot for name, slot in understood.slots.items() if slot < 7} == {"p1": 1, "p7": 2, "dog": 3}


def test_too_much_is_a_problem_with_its_numbers() -> None:
    crowd = story("{mira}, {leo} and {rex} run")
    assert crowd.problems == ["shot 1 shows 3 characters (mira, leo, rex), at most 2 fit"]
    many = {f"p{i}": "a man" for i in range(7)}
    assert story(*(f"{{{name}}} walks" for name in many), characters=many).problems == [
        "the story shows 7 characters (p0, p1, p2, p3, p4, p5, p6), at most 6 fit"
    ]
    places = ["cafe", "river", "street", "kitchen", "forest", "beach", "park"]
    assert story(*(f"the {place}" for place in places)).problems == [
        f"the story shows 7 scenes ({', '.join(places)}), at most 6 fit"
    ]
    assert story("{nobody_known} walks").problems == ["shot 1 names {nobody_known}, who is not among the characters"]


def test_a_shot_of_too_many_is_not_encoded() -> None:
    understood = story("{mira} walks")
    understood.shots[0].facts += [Fact(slot, "kind", "man") for slot in (2, 3)]
    with pytest.raises(ValueError, match="shot 1 tells of 1 scenes and 3 characters, it holds 1 and 2"):
        encode(understood)


def test_what_a_shot_says_goes_before_the_description() -> None:
    understood = story("In a blue coat, {mira} waves", "{mira} walks")
    assert [f.value for f in understood.shots[0].facts if f.attribute == "coat"] == ["blue"]
    assert [f.value for f in understood.shots[1].facts if f.attribute == "coat"] == ["yellow"]


def test_a_token_is_one_thing_and_all_that_is_said_of_it() -> None:
    understood = story("{mira} walks", "{leo} runs")
    whole, captions = encode(understood)
    assert len(whole) == GLOBAL_TOKENS
    assert [len(tokens) for tokens in captions] == [CAPTION_TOKENS] * 2
    assert [token[0] for token in whole if token[0]] == [1, 2, 3]
    shot, where, who, nobody = captions[0]
    assert (shot[0], where[0], who[0]) == (0, 7, 1)
    assert not any(nobody)
    facts = {FACTS[fact] for fact in who[1:] if fact}
    assert facts == {("kind", "woman"), ("hair", "ginger"), ("coat", "yellow"), ("action", "walk")}


@pytest.mark.parametrize("path", _STORYBOARDS, ids=lambda path: path.stem)
def test_example_storyboards_are_understood_whole(path: Path) -> None:
    board = load_storyboard(path)
    understood = understand_story(
        StoryText(
            board.global_prompt, board.characters, board.scenes, [(s.prompt, s.scene, s.camera) for s in board.shots]
        )
    )
    assert understood.problems == []
    assert [words.unknown for words in understood.words if words.unknown] == []
    assert understood.notes == []
    encode(understood)


_WORDS = st.sampled_from([" ".join(key) for key in LEXICON] + ["zorble", ",", ".", ":", "{mira}", "{leo}", "a", "the"])


@settings(max_examples=150, deadline=None)
@given(prompts=st.lists(st.lists(_WORDS, max_size=14), max_size=4), description=st.lists(_WORDS, max_size=10))
def test_any_words_in_any_order_are_understood_somehow(prompts: list[list[str]], description: list[str]) -> None:
    text = " ".join(description)
    understood = story(
        *(" ".join(prompt) for prompt in prompts), global_prompt=text, characters={"mira": text, "leo": text}
    )
    assert len(understood.words) == len(prompts) + 1
    for shot in understood.shots:
        attributes = [(f.slot, f.attribute) for f in shot.facts]
        assert len(attributes) == len(set(attributes))
        assert all((f.attribute, f.value) in FACT_ID for f in shot.facts)


@settings(max_examples=60, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text_at_all(text: str) -> None:
    understood = story(text, global_prompt=text, characters={"mira": text}, scenes={"s": text})
    assert len(understood.shots) == 1
