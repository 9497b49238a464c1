"""What the scenarios ask about: topics and questions whose right answers are common knowledge.

`|` is a slice border at which the request cannot be over. Patterns name words that any right
answer contains, so that any model can be judged by them, not only one with these very sentences.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["HOWTOS", "QUESTIONS", "SIDES", "STORIES", "TOPICS", "Topic"]


@dataclass(frozen=True)
class Topic:
    """name: as said inside a request. key: what an answer about it says. more: what comes later.

    kind: topics of one kind can be mistaken for one another.
    """

    name: str
    key: str
    more: str
    kind: str


def _topics(kind: str, *rows: str) -> list[Topic]:
    found = []
    for row in rows:
        name, key, more = (part.strip() for part in row.split("/"))
        found.append(Topic(name, rf"\b(?:{key})", more, kind))
    return found


TOPICS = [
    *_topics(
        "animal",
        "penguins / penguin / antarctica|southern|fish|krill|squid|metre|emperor",
        "owls / owl / forest|mice|insect|sparrow|desert|small birds",
        "giraffes / giraffe / africa|acacia|leaves|metres tall",
        "elephants / elephant / africa|asia|grass|bark|tonne",
        "octopuses / octopus / sea|rocks|crab|shellfish|thumb",
        "dolphins / dolphin / sea|river|squid|metres long",
        "sharks / shark / ocean|seal|plankton|whale shark",
        "koalas / koala / australia|eucalyptus|centimetres",
        "pandas / panda / china|bamboo|kilogram",
        "camels / camel / africa|asia|thorn|dry grass|hump",
        "bats / bats?\\b / cave|roof|fruit|blood|wings",
        "wolves / wolf|wolves / forest|deer|elk|forty|kilogram",
        "frogs / frog / pond|stream|flies|worm|sticky|hand",
        "spiders / spider / house|flies|pinhead|plate",
        "butterflies / butterfl / nectar|flower|tongue|coin",
        "kangaroos / kangaroo / australia|grass|leaves|tall",
        "turtles / turtle / pond|land|jellyfish|plants|bed",
        "bees / bees?\\b / nest|hive|nectar|pollen|centimetre",
    ),
    *_topics(
        "planet",
        "Mars / mars\\b / fourth|half as wide|twenty-four|phobos|deimos",
        "Jupiter / jupiter / fifth|eleven times|ten hours|ninety|ganymede",
        "Saturn / saturn / sixth|nine times|eleven hours|titan|hundred",
        "Neptune / neptune / eighth|farthest|four times|sixteen|triton",
        "Mercury / mercury / first planet|wider|seventy-six|no moons",
        "Uranus / uranus / seventh|four times|seventeen|twenty-five|shakespeare",
    ),
    *_topics(
        "instrument",
        "the piano / piano / string|keys|eighty-eight|fingers",
        "the violin / violin / string|four|chin|bow",
        "the guitar / guitar / six|string|strum|pluck",
        "the flute / flute / woodwind|metal|tube|blow",
        "the trumpet / trumpet / brass|mouthpiece|valve|buzz",
        "the harp / harp\\b / forty-seven|pedal|pluck|string",
    ),
    *_topics(
        "city",
        "Paris / paris / france|seine|eiffel|louvre",
        "Rome / rome\\b / italy|tiber|colosseum|trevi",
        "Tokyo / tokyo / japan|bay|temple|shibuya",
        "Cairo / cairo / egypt|nile|giza|sphinx",
        "Sydney / sydney / australia|harbour|opera",
        "Venice / venice / lagoon|adriatic|canal|gondola",
        "Berlin / berlin / spree|brandenburg|wall|germany",
    ),
    *_topics(
        "person",
        "Mozart / mozart / salzburg|austria|magic flute|seventeen",
        "Beethoven / beethoven / bonn|symphon|seventeen|eighteen",
        "Marie Curie / curie / warsaw|poland|radium|polonium",
        "Albert Einstein / einstein / ulm|relativity|eighteen seventy-nine",
        "Galileo / galileo / pisa|jupiter|fifteen sixty-four",
        "Cleopatra / cleopatra / alexandria|caesar|antony",
    ),
    *_topics(
        "nature",
        "volcanoes / volcano / pacific|ring of fire|lava|erupt|thousand",
        "rainbows / rainbow / sunlight|raindrop|bent|away from",
        "earthquakes / earthquake / plates|japan|chile|california",
        "glaciers / glacier / greenland|antarctica|pressed|mountain",
        "tornadoes / tornado / warm|cold air|united states|spin",
    ),
    *_topics(
        "plant",
        "sunflowers / sunflower / north america|three metres|sun and water",
        "tulips / tulip / asia|holland|knee|winter",
        "mushrooms / mushroom / woods|meadow|hand|damp",
        "bamboo / bamboo / asia|thirty|warmth|water",
    ),
    *_topics(
        "food",
        "pizza / pizza / dough|mozzarella|basil|oven|twelve",
        "pancakes / pancake / flour|eggs|ladle|whisk|twenty",
        "guacamole / guacamole / avocado|lime|fork|ten minutes",
        "apple pie / apple pie / pastry|cinnamon|hour|bake",
    ),
]

# How-tos and stories have long answers: good to be interrupted.
HOWTOS = (
    ("boil an egg", "pot|water|bubbl"),
    ("plant a seed", "soil|pot|seed"),
    ("fold a paper boat", "fold|sheet|corner"),
    ("tie a shoe", "lace|loop"),
    ("build a snowman", "snow|balls"),
    ("ride a bike", "saddle|pedal|handlebar"),
    ("wrap a present", "paper|tape|fold"),
    ("change a light bulb", "bulb|switch"),
)
STORIES = (
    ("the fox and the moon", "fox"),
    ("the lost kitten", "kitten"),
    ("the brave little boat", "boat"),
    ("the dragon who was cold", "dragon"),
    ("the tree that wanted to travel", "tree|oak"),
    ("the snail and the race", "snail"),
)

# Each is asked once, sliced by hand; after `/` what the answer must say.
QUESTIONS = (
    "What do | penguins live on, what's their food? / fish|squid|krill",
    "I'd like to know where | penguins live. / antarctica|south",
    "So where on earth do | kangaroos come from? / australia",
    "And how tall do | giraffes get? / five|metre|tall",
    "What would a | panda normally eat? / bamboo",
    "How heavy is an | elephant, roughly? / six|tonne",
    "Can you tell me what | koalas eat all day? / eucalyptus|leaves",
    "How many legs does a | spider have? / eight",
    "How many hearts has an | octopus got? / three",
    "What's on the menu for a | shark? / fish|seal|plankton",
    "My kid asked me where | turtles live, any idea? / sea|pond|land",
    "what do | frogs like to eat / flies|worm",
    "Whereabouts do | tigers live? / asia",
    "What do you feed a | horse? / grass|hay|oats",
    "How big can a | blue whale get? / thirty|metre",
    "What is it that | owls eat at night? / mice|insect|bird",
    "Where can you find | camels in the wild? / africa|asia|desert",
    "what does a | bear eat / berries|fish|roots|honey",
    "How many moons does | Mars have? / two|phobos",
    "Is it true that | Saturn has rings, what are they made of? / ice|rock",
    "How long is a | day on Jupiter? / ten",
    "Which planet is | the fourth one from the Sun? / mars",
    "How hot is the | surface of the Sun? / five and a half|thousand|degrees",
    "how long does a | day on Mars last / twenty-four",
    "When did people first | walk on the Moon? / sixty-nine|1969",
    "How old is the | Sun? / four and a half|billion",
    "How many planets are in the | solar system? / eight",
    "What makes the | tides go up and down? / moon|sun|pull",
    "I never understood why the | wind blows, do you know? / sun|warm",
    "What's the reason that | volcanoes erupt? / rock|gas|melted",
    "Where does | thunder come from? / lightning|air",
    "How high is | Mount Everest? / eight thousand|metres",
    "How long is the | river Nile? / six thousand|kilomet",
    "how deep is the | ocean at its deepest / eleven|kilomet",
    "What is the | capital of Australia? / canberra",
    "Could you give me the | capital of Canada? / ottawa",
    "What's the | capital of Brazil called? / brasilia",
    "Do you happen to know the | capital of Japan? / tokyo",
    "and the | capital of Spain is what / madrid",
    "Which language do they speak in | Brazil? / portuguese",
    "What language would I hear in | Egypt? / arabic",
    "What do people speak in | Mexico? / spanish",
    "Which continent is | Egypt on? / africa",
    "What river runs through | London? / thames",
    "Which river is | Paris on? / seine",
    "Which country is | Istanbul in? / turkey",
    "What should I look at when I'm in | Rome? / colosseum|pantheon|trevi",
    "What are the | sights in Berlin? / brandenburg|wall",
    "Where would I go to see the | Opera House, which city? / sydney",
    "What can I see in | Athens? / acropolis|parthenon",
    "How many strings does a | guitar have? / six",
    "How many keys are on a | piano? / eighty-eight|88",
    "how many strings on a | violin / four",
    "How do you play the | flute? / blow",
    "What family does the | clarinet belong to? / wind",
    "How many players are on a | football team? / eleven",
    "How many people do you need for | chess? / two",
    "how many players does a | volleyball team have / six",
    "Who built the first | printing press? / gutenberg",
    "Who was it that invented the | telephone? / bell",
    "Who came up with the | light bulb? / edison|swan",
    "Who made the first | airplane fly? / wright",
    "When was the | telephone patented? / seventy-six|1876",
    "When did the | airplane first fly? / three|1903",
    "Who do we thank for the | radio? / marconi",
    "In what year did the | internet begin? / sixty-nine|1969",
    "Where was | Mozart born? / salzburg|austria",
    "What was | Marie Curie famous for? / radium|polonium|nobel",
    "Where did | Beethoven come into the world? / bonn|germany",
    "When did | Shakespeare live? / fifteen|1564",
    "What is | Darwin known for? / evolution",
    "What's | Isaac Newton known for? / gravity|motion",
    "What do I need for | guacamole? / avocado|lime",
    "What goes into | pesto? / basil|garlic|nuts",
    "How do I make an | omelette? / egg|butter",
    "How long does | bread take to make? / three|hour",
    "what ingredients do I need for | pancakes / flour|egg|milk",
    "How long do I have to | cook spaghetti? / ten|minutes",
    "How do I | boil an egg? / water|pot",
    "Tell me how to | tie my shoes. / lace|loop",
    "What's the best way to | wrap a present? / paper|fold|tape",
    "Show me how to | build a snowman. / snow|ball",
    "What is the | heart good for? / blood|pump|beat",
    "How many bones does a | grown person have? / two hundred|206",
    "How many teeth do | adults have? / thirty-two|32",
    "Which organ do we use to | think? / brain",
    "What is | glass made of? / sand",
    "What is | paper made from? / wood|pulp",
    "How is | honey made? / nectar|bee",
    "What's | gold used for? / jewel|coin|electronic",
    "Where does | salt come from? / sea|mine",
    "Where did | tulips originally come from? / asia",
    "How tall can | sunflowers grow? / three|metre",
    "what do | mushrooms need to grow / damp|soil|leaves|wood",
    "What is two | plus three? / five|\\b5",
    "How much is seven | plus two? / nine|\\b9",
    "what's four and | four / eight|\\b8",
    "Add six to | three, please. / nine|\\b9",
    "Can you work out one | plus six? / seven|\\b7",
)

# Short side questions with short answers, none of them about a topic above.
SIDES = (
    ("what's two plus two?", "four|\\b4"),
    ("how much is three plus five?", "eight|\\b8"),
    ("what is one plus six?", "seven|\\b7"),
    ("quickly, what is five plus four?", "nine|\\b9"),
    ("hang on, what is six plus two?", "eight|\\b8"),
    ("what's the capital of Canada?", "ottawa"),
    ("what is the capital of Greece?", "athens"),
    ("sorry, quick one, what's the capital of Spain?", "madrid"),
    ("what language do they speak in Mexico?", "spanish"),
    ("oh, and what's the capital of Russia?", "moscow"),
    ("who invented the telephone?", "bell"),
    ("by the way, who invented the radio?", "marconi"),
    ("how many players has a football team?", "eleven"),
    ("how many strings does a guitar have?", "six"),
    ("how many legs does a spider have?", "eight"),
    ("how many moons does Mars have?", "two|phobos"),
    ("what is glass made of?", "sand"),
    ("how high is Mount Everest?", "thousand"),
)
