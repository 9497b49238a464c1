"""What the generator of training conversations promises. No torch needed."""

from __future__ import annotations

import random
import re
from itertools import islice

import numpy as np
import pytest

from benchmarks.behaviour import wording as scenarios
from duplex_local.protocol import FINISHED_WITHIN
from train.__main__ import ON_GPU, RATE, START_RATE, parse, size_for
from train.answers import ONES, TOO_BIG, Request, counting_down
from train.card import NUMBERS, write_card
from train.cores import PLACE_NOUNS
from train.dialogue import Dialogue
from train.kinds import KINDS, LISTED, how_many, listed, sure_kinds
from train.knowledge import topics
from train.packing import IGNORED, Generator, flatten, pack
from train.real import varied
from train.requests import Speaker
from train.speech import MOST_TOKENS, Speech, next_chunk
from train.strangers import UNKNOWN
from train.utterance import Utterance, add_noise, dress, slices, typed_badly, words_of
from train.vocabulary import write_vocabulary
from train.wording import load

LENGTH = 1024


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(folder, None, seed=0)
    return folder


@pytest.fixture
def generator(vocabulary):
    return Generator(vocabulary, None, seed=4)


def test_rows_are_the_ids_the_engine_would_feed(generator):
    for _ in range(100):
        script = generator.transcript(LENGTH)
        script.history.hear("and now")  # prunes what the next slice would not see
        fed = script.history.ids()
        rows = [token for row in script.rows for token in row.ids]
        assert fed[: len(rows)] == rows


def test_silent_idle_slices_are_branches_only(generator):
    idle = generator.codec.idle
    silent = [*generator.codec.encode("<用户>"), idle, *generator.codec.encode("<AI>"), idle]
    n_branches = 0
    for _ in range(100):
        for row in generator.transcript(LENGTH).rows:
            assert row.ids[: len(silent)] != silent
            n_branches += len(row.branches)
    assert n_branches > 30


def test_reply_slices_fit_and_only_the_last_says_finished(vocabulary):
    codec = Generator(vocabulary, None, seed=0).codec
    for topic in topics():
        speech = Speech(topic.about(), topic)
        while not speech.is_over:
            chunk = next_chunk(speech.rest, codec.count)
            n_sampled = codec.count(chunk) + 1
            speech = speech.said(len(chunk))
            assert n_sampled <= MOST_TOKENS + 1
            assert n_sampled > FINISHED_WITHIN or speech.is_over, chunk


def test_a_cut_answer_goes_on_with_the_broken_word():
    speech = Speech("Mars is the red planet.")
    assert speech.cut(8).rest == " the red planet." == speech.cut(7).rest
    assert speech.cut(3).rest == "Mars is the red planet."
    assert speech.cut(4).rest == " is the red planet."


def test_a_side_answer_returns_to_where_it_was():
    speech = Speech("Mars is the red planet.", "Mars").said(11)
    side = speech.after("Two plus two is four.", "Mars")
    assert side.text == "Two plus two is four. Back to Mars: red planet."
    assert side.said(36).subject().rest == speech.said(36 - side.join).rest


@pytest.mark.parametrize("mode", ["spoken", "typed", "mixed", "late"])
def test_no_slice_ends_where_a_shorter_request_is_complete(mode):
    speaker = Speaker(load(False), random.Random(1))
    for _ in range(300):
        request = speaker.about()
        ends = np.cumsum(
            [len(piece.text.split()) for piece in slices(request.said, speaker.rng, mode)]
        )
        waiting = [end for end in ends.tolist() if end < request.said.done]
        assert not set(waiting) & request.said.closed


@pytest.mark.parametrize(
    ("core", "may_be_all"),
    [
        ("what is *glass made of", ["what is glass"]),
        ("stop talking", ["stop"]),
        ("what do *rabbits eat in the wild", ["what do rabbits eat"]),
        ("*rabbits what do they eat in the wild", ["rabbits", "rabbits what do they eat"]),
        ("how many moons does *mars have", []),
        ("is *glass a material", []),
        ("who was *newton named after", ["who was newton"]),
        ("explain to my nan what *a *comet is", []),
        ("tell me about *new *york", []),
        ("what is *rio *de *janeiro", ["what is rio"]),
        ("do you like *the *famous *composer *mozart", []),
        ("tell me about *a *cup *of *tea", []),
        ("what are *light *bulbs", []),
        ("that was really useful", []),
        ("can we continue with *owls", ["can we continue"]),
        ("now do *volcanoes for me", ["now do volcanoes"]),
        ("where do *volcanoes erupt", []),
        ("tell me about *the *planet *mars", []),
        ("explain what *zebras are in simple words", ["explain what zebras are"]),
        ("the story please again", ["the story", "the story please"]),
        ("please stop talking", ["please", "please stop"]),
    ],
)
def test_a_slice_may_end_after_a_topic_only_where_more_must_come(core, may_be_all):
    """Words with a star are the topic. Rio may be all that was wanted, "new" may not."""
    speaker = Speaker(load(None), random.Random(1))
    parts = [(word.lstrip("*"), "x" if word[0] == "*" else "c") for word in core.split()]
    said = speaker.build(parts)
    assert [" ".join(said.words[:end]) for end in sorted(said.closed)] == may_be_all


def test_a_filler_behind_a_complete_request_leaves_it_complete():
    rng = random.Random(1)
    said = Utterance("what is glass made of".split(), 5, fixed=set(range(5)), closed={3})
    n_moved = 0
    for _ in range(200):
        noisy = add_noise(said, rng, ("pencil",))
        glass = noisy.words.index("glass") if "glass" in noisy.words else None
        made = next((i for i, word in enumerate(noisy.words) if word[:1] == "m" and i > 2), None)
        if glass is not None and made is not None:
            assert set(range(glass + 1, made + 1)) <= noisy.closed
            n_moved += made > glass + 1
    assert n_moved > 5


def test_people_are_called_by_what_they_were():
    roles = {topic.subject: topic.role for topic in topics() if topic.kind == "person"}
    assert roles["Mozart"] == "composer" and roles["Isaac Newton"] == "scientist"
    assert roles["Cleopatra"] == "queen"
    assert "person" not in roles.values()  # every opening says it


def test_half_of_what_is_read_are_short_conversations(generator):
    sizes = [len(flatten(generator.transcript(768))[0]) for _ in range(400)]
    short = sum(size for size in sizes if size < 250)
    assert 0.4 < short / sum(sizes) < 0.7


def test_every_topic_has_an_opening_that_names_it_and_facts_that_can_be_asked():
    asked = load(None).questions
    assert len(topics()) >= 150
    for topic in topics():
        assert topic.opening.endswith(".")
        assert 2 <= topic.about().count(".") <= 14
        if topic.kind in ("howto", "story"):
            continue
        assert topic.opening.startswith(topic.subject), topic.subject
        assert len(topic.facts) >= 2, topic.subject
        for key in topic.facts:
            assert asked[topic.kind, key], (topic.subject, key)
            assert topic.name.lower() in topic.fact(key).lower(), topic.fact(key)


def test_stories_last_eight_slices(vocabulary):
    count = Generator(vocabulary, None, seed=0).codec.count
    stories = [topic for topic in topics() if topic.kind == "story"]
    assert len(stories) >= 5
    assert all(count(topic.about()) >= 80 for topic in stories)


def test_held_out_wordings_are_never_trained():
    trained, held_out = load(False), load(True)
    for name in ("verbs", "questions", "stop", "backchannel", "greeting"):
        assert held_out[name] and not set(trained[name]) & set(held_out[name])


def test_a_wording_of_the_scenarios_is_trained_only_where_there_is_hardly_another():
    """The benchmark is about unseen wordings; "stop" and "hello" cannot be avoided."""
    lists = [getattr(scenarios, name) for name in scenarios.__all__]
    asked = {" ".join(words_of(text.replace("|", " "))) for found in lists for text in found}
    trained = {wording for found in load(None).sections.values() for wording in found}
    both = {text for text in asked & trained if len(text.split()) > 2}
    assert both <= {
        "stop stop stop", "tell me about yourself", "thank you very much", "see you later",
        "what is your name", "who are you", "wait a second", "you can stop now", "no more please",
        "good evening to you", "make it brief",
    }  # fmt: skip


def test_a_request_in_two_clauses_is_complete_at_its_end_and_unsure_between():
    speaker = Speaker(load(None), random.Random(3))
    said = speaker.clauses(topics()[0], "elephants")
    text = " ".join(said.words)
    assert "elephants" in said.words[:-1] and said.done == len(said.words), text
    assert said.words.index("elephants") + 1 in said.unsure


def test_a_quiz_question_is_answered_by_a_sentence_that_names_its_topic():
    speaker = Speaker(load(None), random.Random(1))
    assert len(speaker.quizzes) > 100
    for topic, asked in speaker.quizzes:
        own = {topic.subject.lower(), *topic.others} - set(PLACE_NOUNS)
        assert not any(f" {name} " in f" {text} " for name in own for text in asked)
    answer = speaker.quiz().answer
    assert answer.about.subject in answer.text


def test_no_question_has_an_answer_and_is_refused_as_well():
    wording = load(None)
    for kind, section in UNKNOWN.items():
        answered = {f.text for (of, _), forms in wording.questions.items() if of == kind
                    for f in forms}  # fmt: skip
        assert not answered & {*wording[section], *wording["about a topic"]}


def test_yes_and_no_are_said_only_where_they_are_sure():
    """One true answer for each: "are mushrooms plants" once got a yes, "is honey a food" a no."""
    known = {topic.subject: topic for topic in topics()}
    unsure = "Mushrooms,Honey,Salt,Water,Tea,Lemonade,Hot chocolate,Chess,falling asleep"
    assert all(not sure_kinds(known[subject]) for subject in unsure.split(","))
    for subject, kind in (
        ("Salmon", "food"), ("Rice", "plant"), ("Bamboo", "food"), ("Tomato soup", "plant"),
        ("Glass", "invention"), ("Gold", "food"), ("The telescope", "instrument"),
        ("The piano", "invention"), ("The bicycle", "sport"), ("The eye", "food"),
        ("The Sun", "planet"), ("Blue whales", "fish"),
    ):  # fmt: skip
        assert kind not in sure_kinds(known[subject]), (subject, kind)
    for subject, kind in (("Lions", "animal"), ("Paris", "city"), ("Paris", "food")):
        assert kind in sure_kinds(known[subject])
    speaker = Speaker(load(None), random.Random(1))
    for topic in topics():
        assert set(sure_kinds(topic)) <= set(KINDS)
        answer = speaker.is_kind(topic).answer
        assert answer.about is topic or not sure_kinds(topic)


def test_what_the_sentences_answer_is_not_refused():
    wording = load(None)
    for section, answered in (
        ("about an animal", "how long do X live / what sound do X make"),
        ("about a topic", "{do} X sleep / what {do} X smell like / can i eat X"),
        ("about a place", "what is the population of X / how many people live in X / how old is X"),
        ("about a country", "how many people live in X"),
        ("about something in space", "are there aliens on X / did X exist before the dinosaurs"),
    ):
        assert not set(answered.split(" / ")) & set(wording[section]), section
    bones = next(topic for topic in topics() if topic.subject == "Bones")
    assert "two hundred and six" in bones.fact("count")


def test_no_fact_stumbles_over_its_pronoun():
    """Inside the whole answer the topic is "it" or "them"."""
    for topic in topics():
        for key, text in topic.facts.items():
            if key not in ("steps", "before", "special"):
                assert text.startswith("* ") and text.count("*") == 1, (topic.subject, text)


def test_what_is_asked_about_a_size_is_told():
    for topic in topics():
        size = topic.facts.get("size", "")
        if topic.kind == "animal":
            assert any(word in size for word in ("kilogram", "gram", "tonnes", "weigh", "heavy"))
        if topic.kind in ("animal", "body", "plant", "nature"):
            assert len(size.split()) <= 23, size


def test_wordings_of_one_predicate_are_on_one_side_of_a_quiz():
    trained, held_out = load(False).quiz, load(True).quiz
    for subject, asked in trained.items():
        if not set(asked) & set(held_out[subject]):  # a short list is not split
            ends = [
                {tuple(text.removesuffix(" called").split()[-4:]) for text in side}
                for side in (asked, held_out[subject])
            ]
            assert asked and held_out[subject] and not ends[0] & ends[1], subject


def test_to_break_off_and_to_change_the_subject_are_on_one_side():
    """Both begin with "never mind": where that is a request is known from the same half."""
    for wording in (load(False), load(True)):
        both = set(load(None)["stop"]) & set(load(None)["reset"]) & set(wording["reset"])
        assert both and both <= set(wording["stop"])
        speaker = Speaker(wording, random.Random(1))
        assert all(speaker.build([(text, "i"), ("glass", "c")]).closed for text in both)
    unfinished = set(load(None)["abandon"])
    for name in ("stop", "wait", "reset", "side"):
        assert not unfinished & set(load(None)[name])


def test_what_is_strange_is_no_topic():
    wording = load(None)
    known = {n.lower() for topic in topics() for n in (topic.subject, topic.name, *topic.others)}
    for section in ("animal", "food", "city", "person", "thing"):
        assert not known & set(wording[section])


def test_pronouns_are_objects_where_they_must_be():
    form = Speaker.form
    assert form("what {be} the size of X", "they", True)[-1][0] == "them"
    assert form("how big {be} X", "he", False)[-1][0] == "he"
    assert form("what {be} X's diet", "they", True)[1][0] == "their"


def test_commas_stand_where_people_pause():
    rng = random.Random(0)
    speaker = Speaker(load(None), rng)
    said = speaker.build([("no i meant", "i"), ("owls", "x")])
    texts = {" ".join(dress(said, rng)) for _ in range(200)}
    assert {"no i meant owls", "No, I meant owls."} & texts
    assert any("meant, " in text for text in texts)


def test_after_the_window_slid_nothing_refers_to_what_was_lost(generator):
    dialogue = Dialogue(generator.codec, generator.speaker, [])
    dialogue.play(600)
    first = dialogue.script.rows[1].ids
    dialogue.slide()
    assert dialogue.script.rows[1].ids == first
    assert sum(len(row.ids) for row in dialogue.script.rows) < 900
    assert not dialogue.open


def test_a_run_is_as_large_as_the_machine_allows_and_as_asked_for():
    assert size_for(parse([]), on_gpu=True) == ON_GPU
    assert size_for(parse([]), on_gpu=False).dropout == 0
    assert size_for(parse(["--quick"]), on_gpu=False).minutes <= 30
    asked = size_for(parse(["--layers", "2", "--minutes", "0.5"]), on_gpu=False)
    assert (asked.layers, asked.minutes, asked.rows) == (
        2,
        0.5,
        size_for(parse([]), on_gpu=False).rows,
    )
    with pytest.raises(SystemExit):
        parse(["--layers", "two"])


def test_the_same_seed_gives_the_same_rows(vocabulary):
    one, two = (list(islice(pack(Generator(vocabulary, None, seed), LENGTH), 3)) for seed in (5, 5))
    assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))
    other = next(pack(Generator(vocabulary, None, 6), LENGTH))
    assert not np.array_equal(one[0], other)


def test_labels_are_the_next_token_of_the_same_chain(generator):
    ids, labels, positions, branch = flatten(generator.transcript(LENGTH))
    learned = labels != IGNORED
    assert learned.mean() > 0.1
    at = np.flatnonzero(learned & (np.arange(len(ids)) < len(ids) - 1))
    assert (labels[at] == ids[at + 1]).all() and (branch[at] == branch[at + 1]).all()
    assert (np.diff(positions[branch == 0]) == 1).all()


def test_sums_beyond_ten_are_refused_and_others_are_not():
    speaker = Speaker(load(None), random.Random(2))
    n_refused = 0
    for _ in range(300):
        request = speaker.sum()
        numbers = [int(n) for n in re.findall(r"[0-9]+", " ".join(request.said.words))]
        if max(numbers, default=0) > 10:
            assert request.answer.text == TOO_BIG, request.said.words
        n_refused += request.answer.text == TOO_BIG
    assert 15 < n_refused < 90


def test_counting_down_ends_at_one():
    assert counting_down(3).text == "Three, two, one."
    assert counting_down(20).text.startswith("Twenty, nineteen,")


def test_examples_of_every_kind_are_topics():
    names = {topic.name for topic in topics()}
    for kind, called in LISTED.items():
        found = listed(kind)
        assert len(found) == (8 if kind == "planet" else 5), kind
        assert set(found) <= names and called
    answer = Speaker(load(None), random.Random(1)).examples().answer.text
    assert answer.startswith("Some ") and " I know are " in answer


def test_as_many_examples_as_were_asked_for():
    assert [how_many(form) for form in ("name three planets", "list 10 cities", "some games")] == [
        3, 10, None,
    ]  # fmt: skip
    speaker = Speaker(load(None), random.Random(1))
    for _ in range(200):
        request = speaker.examples()
        n = how_many(" ".join(request.said.words))
        n_named = len(re.split(r", | and ", request.answer.text.partition(" are ")[2]))
        assert n_named == min(n or 10, 8 if "planets" in request.answer.text else 5)


def test_counting_begins_where_it_was_asked_to_and_a_wrong_number_does_not_count():
    speaker = Speaker(load(None), random.Random(1))
    known = {str(n): word for n, word in enumerate([*ONES, "twenty"])}
    any_number = f"(?:{'|'.join(known.values())})"
    forms = [
        re.compile(rf"\b{form.replace('P', f'(?P<P>{any_number})').replace('Q', any_number)}\b")
        for form in speaker.wording["countsplit"]
    ]
    n_from = n_corrected = 0
    for _ in range(400):
        request = speaker.count()
        said = [known.get(word, word) for word in request.said.words[: request.said.done]]
        numbers = [word for word in said if word in known.values()]
        found = next((m for form in forms if (m := form.search(" ".join(said)))), None)
        counted = request.answer.text.rstrip(".").lower().split(", ")
        assert counted[0] == (found["P"] if found else "one"), said
        assert counted[-1] == numbers[-1], said
        n_from += counted[0] != "one"
        n_corrected += len(numbers) > 1 and found is None
    assert n_from > 40 and n_corrected > 5


def test_the_topic_may_come_before_the_question():
    speaker = Speaker(load(None), random.Random(1))
    owl = next(topic for topic in speaker.topics if topic.name == "owls")
    request = speaker.topic_first(owl, "eats")
    words = " ".join(request.said.words[: request.said.done])
    at = max(request.said.names) + 1
    assert at in request.said.unsure
    assert re.search(r"\bowls?\b.*\b(they|their|them)\b", words)
    assert request.answer.text == owl.fact("eats")


def test_a_hurried_typist_misspells_names_but_says_as_many_words():
    rng = random.Random(1)
    said = Utterance("tell me about elephants and 12 more".split(), 7, names={3})
    seen = {tuple(typed_badly(said, rng).words) for _ in range(100)}
    assert all(len(words) == 7 and words[1] == "me" and words[5] == "12" for words in seen)
    assert any(words[3] != "elephants" for words in seen)
    assert any(words[2] == "abt" for words in seen)
    assert said.words[3] == "elephants"


def test_a_varied_request_keeps_its_structure_and_the_list_its_own():
    speaker = Speaker(load(None), random.Random(1))
    said = Utterance("how much does a new engine cost in canada".split(), 9)
    request = Request(said, Speech("Sorry.", None, "ood"), short=True)
    seen = {tuple(varied(request, speaker).said.words) for _ in range(100)}
    assert len(seen) > 5
    for words in seen:
        assert words[:2] == ("how", "much") and words[7] == "in"
    assert request.said.words[5] == "engine"
    known = Request(said, Speech("Hello!", None, "social"), short=True)
    assert all(varied(known, speaker).said.words == said.words for _ in range(50))


def test_and_another_topic_asks_the_same_again(generator):
    dialogue = Dialogue(generator.codec, generator.speaker, [])
    mars = next(topic for topic in topics() if topic.subject == "Mars")
    asked = set()
    for _ in range(60):
        dialogue.now, dialogue.last = None, Speech(mars.fact("size"), mars, "size", at=99)
        dialogue.and_what()
        if dialogue.last.about is not mars:
            asked.add(dialogue.last.intent)
            assert dialogue.last.about.noun not in ("task", "story")
    assert asked == {"size", "about"}


def test_what_goes_on_from_a_checkpoint_learns_more_gently():
    options = parse(["--start", "models/demo"])
    assert options.rate == START_RATE < RATE == parse([]).rate
    for wrong in (["--rate", "0"], ["--start", "models/demo", "--layers", "2"]):
        with pytest.raises(SystemExit):
            parse(wrong)
    assert parse(["--rate", "0.01"]).rate == 0.01


def test_the_card_tells_every_run_of_the_training(tmp_path):
    first = {"tokens": 1000, "steps": 10, "minutes": 1.5, "device": "an abacus",
             "validation_loss": 9.9, "half": True}  # fmt: skip
    second = first | {"tokens": 2000, "device": "2 CPU cores", "half": False}
    rate = {"value": 0.5, "n": 4, "low": 0.15, "high": 0.85}
    figures = {name: 1 for name in NUMBERS} | {"trained wordings": {"HOLD": rate}}
    write_card(tmp_path, figures, [first, second], real=True)
    card = (tmp_path / "README.md").read_text("utf-8")
    assert "Trained from scratch on 1,000 tokens in 10 steps" in card and "an abacus" in card
    assert "Then, with the lists of a later day, on 2,000 tokens" in card
    assert "50.0 % (4; 15.0-85.0)" in card
    # One of the runs saw every wording, so none was held out.
    assert "*Held out*" not in card


def test_the_last_words_of_a_request_may_come_alone():
    rng = random.Random(1)
    said = Utterance("i would really like to know what a tuba is".split(), 10)
    ends = {slices(said, rng, "late")[-1].text for _ in range(50)}
    assert {text.lower().strip("?.!") for text in ends} == {"is", "tuba is"}


def test_curt_requests_name_the_topic_and_the_fact():
    speaker = Speaker(load(None), random.Random(1))
    assert {speaker._curt("the size of X") for _ in range(20)} == {"size of X", "X size"}
    assert speaker._curt("X's diet") == "X's diet"
    assert speaker._curt("the number of moons of X") == "number of moons of X"


def test_a_list_of_examples_may_be_asked_for_in_more_words_than_it_needs():
    speaker = Speaker(load(None), random.Random(1))
    for _ in range(200):
        request = speaker.examples()
        said, last = request.said, request.answer.about.split()[-1]
        inside = {i for i in range(1, said.done) if said.words[i - 1] == last}
        assert inside <= said.closed, said.words


def test_words_that_disturb_say_nothing_themselves():
    speaker = Speaker(load(None), random.Random(1), ("stop", "coffee", "cars", "not", "curtain"))
    assert speaker.strange == ("curtain",)


def test_and_another_after_a_refusal_is_refused(generator):
    dialogue = Dialogue(generator.codec, generator.speaker, [])
    mars = next(topic for topic in topics() if topic.subject == "Mars")
    for _ in range(10):
        dialogue.now, dialogue.last = None, Speech("Sorry.", mars, "none", at=99)
        dialogue.and_what()
        assert dialogue.last.text.startswith("Sorry, I do not know that about")
