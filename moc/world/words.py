"""The words of the story world: which word or phrase says which value. Tables only; `vocabulary` compiles them.

Phrases are written without articles and possessives ("look at phone" stands for "looks at her phone"), hyphens are
spaces, accents are dropped. Verbs are given in their base form, unless the form is irregular: `vocabulary` adds the
others ("walk": walks, walking, walked).
"""

from __future__ import annotations

# --------------------------------------------------------------------- colours
# Colour words and the base colour they stand for. What a base colour means depends on what wears it: COLOR_AS.
COLORS = {
    "red": "red, crimson, scarlet, ruby, vermilion, maroon, burgundy, brick red, blood red, cherry red, dark red",
    "orange": "orange, tangerine, apricot, peach, pumpkin orange",
    "yellow": "yellow, lemon, lemon yellow, mustard, mustard yellow, canary, canary yellow, sunflower yellow",
    "green": "green, emerald, olive, lime, mint, jade, teal, dark green, bottle green, grass green, moss green, "
    "forest green, sea green, olive green, emerald green",
    "blue": "blue, navy, navy blue, azure, cobalt, indigo, cyan, turquoise, sapphire, royal blue, dark blue, "
    "ocean blue, cobalt blue",
    "purple": "purple, violet, plum, aubergine",
    "pink": "pink, fuchsia, magenta, salmon, hot pink, coral",
    "white": "white, snow white, pure white",
    "black": "black, ebony, jet black, raven, charcoal",
    "brown": "brown, chestnut, hazel, brunette, chocolate brown, coffee brown",
    "ginger": "ginger, auburn, copper, russet, rust, redheaded",
    "golden": "golden, gold, blonde, blond, honey, flaxen, golden blonde",
    "grey": "grey, gray, silver, silvery, ash grey, graying, greying",
    "cream": "cream, ivory, off white, eggshell, vanilla",
    "rose": "rose, rosy, blush, dusty pink, pale pink, light pink, rose pink",
    "sage": "sage, sage green, pale green, light green",
    "sky": "sky blue, pale blue, light blue, baby blue, powder blue",
    "lilac": "lilac, lavender, mauve, light purple, pale purple",
    "sand": "sand coloured, sand colored, sandy, beige, tan, ochre, straw coloured, straw colored",
}

# What a base colour means on each thing; a base colour missing here can't be drawn there, and the user is told.
COLOR_AS: dict[str, dict[str, str]] = {
    "hair": {
        **dict.fromkeys(("ginger", "red", "orange"), "ginger"),
        **dict.fromkeys(("golden", "yellow", "sand"), "golden"),
        **dict.fromkeys(("white", "grey", "cream"), "white"),
        **dict.fromkeys(("blue", "sky"), "blue"),
        "brown": "brown",
        "black": "black",
    },
    "coat": {
        **{c: c for c in ("red", "orange", "yellow", "green", "blue", "purple", "pink", "white")},
        **{"ginger": "orange", "golden": "yellow", "sand": "yellow", "grey": "white", "cream": "white"},
        **{"rose": "pink", "sage": "green", "sky": "blue", "lilac": "purple"},
    },
    "hat_color": {
        **{c: c for c in ("red", "yellow", "green", "blue", "purple", "white", "black")},
        **{"golden": "yellow", "sand": "yellow", "grey": "white", "cream": "white"},
        **{"sage": "green", "sky": "blue", "lilac": "purple"},
    },
    "scarf": {
        **{c: c for c in ("red", "yellow", "green", "blue", "purple", "white")},
        **{"golden": "yellow", "sand": "yellow", "grey": "white", "cream": "white"},
        **{"sage": "green", "sky": "blue", "lilac": "purple"},
    },
    "wall": {
        **dict.fromkeys(("cream", "white", "grey"), "cream"),
        **dict.fromkeys(("rose", "pink", "red"), "rose"),
        **dict.fromkeys(("sage", "green"), "sage"),
        **dict.fromkeys(("sky", "blue"), "sky"),
        **dict.fromkeys(("lilac", "purple"), "lilac"),
        **dict.fromkeys(("sand", "yellow", "golden", "orange", "brown"), "sand"),
    },
    "accent": {
        **{c: c for c in ("red", "orange", "yellow", "green", "blue", "purple")},
        **{"ginger": "orange", "golden": "yellow", "sage": "green", "sky": "blue", "lilac": "purple"},
    },
}

# ------------------------------------------------------------------ characters
KINDS = {
    "woman": "woman, lady, mother, mum, mom, grandmother, grandma, granny, aunt, wife, waitress, queen, actress, witch",
    "man": "man, gentleman, guy, fellow, father, dad, grandfather, grandpa, uncle, husband, waiter, king, fisherman, "
    "wizard, postman",
    "girl": "girl, schoolgirl, daughter, sister, granddaughter, niece, princess, child",
    "boy": "boy, schoolboy, lad, son, brother, grandson, nephew, prince, kid",
    "cat": "cat, kitten, kitty, tomcat, tabby",
    "dog": "dog, puppy, pup, hound, terrier, poodle, doggy",
    "rabbit": "rabbit, bunny, hare, bunny rabbit",
    "bear": "bear, teddy bear, teddy, cub, bear cub, polar bear",
    "robot": "robot, android, droid, automaton",
}
# Drawn as the nearest kind there is; a note says so.
KINDS_NEAR = {
    "cat": "tiger, lion, lioness, leopard, panther, lynx, cheetah, jaguar, puma, cougar, bobcat, lemur, meerkat",
    "dog": "fox, wolf, coyote, jackal, hyena, dingo, deer, fawn",
    "rabbit": "mouse, squirrel, hamster, hedgehog, guinea pig, rat, chipmunk, gerbil, chinchilla, kangaroo, weasel",
    "bear": "panda, koala, badger, raccoon, grizzly, penguin, otter, beaver, monkey, gorilla, chimpanzee, sloth, "
    "elephant, walrus, hippo",
    "robot": "cyborg, golem",
}
KIND_PLURALS = {
    "woman": "women, ladies",
    "man": "men, gentlemen",
    "girl": "girls, daughters, sisters, children",
    "boy": "boys, sons, brothers, kids",
    "cat": "cats, kittens",
    "dog": "dogs, puppies",
    "rabbit": "rabbits, bunnies, hares",
    "bear": "bears, teddy bears, cubs",
    "robot": "robots, androids",
}
HAIR_NOUNS = (
    "hair, fur, locks, curls, braids, ponytail, pigtails, haired, furred, furry, beard, mane, plaits, bun, bob, "
    "moustache, mustache, metal, plating, fringe, hairdo"
)
GARMENTS = (
    "coat, raincoat, jacket, sweater, jumper, pullover, cardigan, dress, shirt, t shirt, tee, blouse, hoodie, parka, "
    "overcoat, trenchcoat, trench coat, anorak, cape, cloak, robe, suit, tunic, vest, waistcoat, overalls, dungarees, "
    "apron, uniform, poncho, outfit, clothes, coated, dressing gown, kimono, winter coat, rain jacket, wool coat"
)
SCARVES = "scarf, neckerchief, shawl, muffler, bandana, scarfed"
HATS = {
    "cap": "cap, baseball cap, flat cap, peaked cap, sports cap",
    "beanie": "beanie, woolly hat, wooly hat, wool hat, woollen hat, knit hat, knitted hat, bobble hat, knit cap, "
    "knitted cap, woolly cap, winter hat, toque",
    "top hat": "top hat, topper, stovepipe hat, tall hat",
    "sun hat": "sun hat, sunhat, straw hat, wide brimmed hat, brimmed hat, floppy hat, summer hat, gardening hat",
    "crown": "crown, tiara, coronet, diadem",
    "bow": "bow, hair bow, ribbon, hair ribbon, bow in hair, ribbon in hair, bow on head, hair band, headband",
}
HAT_ANY = "hat, hats, headwear, headgear, hatted"
BARE_HEADED = "hatless, bareheaded, bare headed, bare head"
SCARFLESS = "scarfless, bare neck, bare necked"
PATTERN_ADJECTIVES = {
    "plain": "plain, solid, unpatterned, plain coloured, plain colored, single coloured, single colored",
    "stripes": "striped, stripy, stripey, broad striped, wide striped, boldly striped",
    "pinstripes": "pinstriped, pinstripe, pin striped, finely striped, thin striped, narrow striped",
    "dots": "dotted, polka dot, polka dotted, spotted, spotty, dotty, speckled",
    "checks": "checked, checkered, chequered, plaid, tartan, gingham",
    "star": "starred, star spangled, star patterned, star print, star printed",
}
PATTERN_NOUNS = {
    "stripes": "stripe, stripes, broad stripes, wide stripes, bold stripes, thick stripes",
    "pinstripes": "pinstripes, pin stripes, thin stripes, fine stripes, narrow stripes",
    "dots": "dots, polka dots, spots, dot pattern",
    "checks": "checks, check pattern, checkerboard, squares",
    "star": "star, star emblem, star badge, star on it, star on chest, star on front, star on back",
}
SIZES = {
    "small": "small, little, tiny, petite, short, wee, miniature, smallish",
    "medium": "medium sized, mid sized, average sized, of medium height, of average height, of medium size, "
    "of average size, of medium build, of average build, of middling height, medium height, average height",
    "tall": "tall, big, large, huge, giant, towering, lanky, long legged",
}

# ---------------------------------------------------------------------- places
PLACES = {
    "cafe": "cafe, coffee shop, coffee house, coffeehouse, coffee bar, diner, bakery, tea room, tearoom, teahouse, "
    "tea house, restaurant, bistro, patisserie, cafeteria, corner cafe, ice cream parlour, canteen, delicatessen, "
    "deli, pastry shop, cake shop, sweet shop, candy shop, chocolate shop, sandwich shop, snack bar, pizzeria, "
    "grocery, grocery store, corner shop, corner store",
    "river": "river, riverbank, river bank, riverside, river side, canal, lake, lakeside, lake shore, lakeshore, "
    "bridge, stream, brook, creek, waterside, water edge, quay, embankment, towpath, waterfront",
    "street": "street, road, lane, avenue, alley, alleyway, square, market, market square, town square, marketplace, "
    "pavement, sidewalk, crossroads, boulevard, street corner, high street, main street, side street, plaza",
    "kitchen": "kitchen, living room, dining room, apartment, bedroom, cottage, at home, cookhouse, parlour, in house",
    "forest": "forest, woods, woodland, grove, jungle, clearing, thicket, among trees, between trees, wood path, "
    "forest path, pine forest, wilderness, campsite, camp site",
    "beach": "beach, sea, shore, seashore, seaside, harbour, harbor, coast, ocean, bay, pier, port, on sand, dunes, "
    "seafront, sea shore, promenade, island",
    "library": "library, bookshop, book shop, bookstore, school, museum, office, archive, classroom, study, "
    "reading room, gallery, schoolroom, university",
    "station": "station, platform, train station, railway station, tram stop, bus stop, subway, metro, terminal, "
    "railway, depot, bus station",
    "rooftop": "rooftop, roof, terrace, balcony, roof terrace, roof garden, rooftops, penthouse",
    "park": "park, garden, meadow, playground, field, lawn, orchard, city park, botanical garden, backyard",
}
# Words that name a place only when nothing more telling does ("on a rooftop above the city").
PLACES_VAGUE = {
    "cafe": "shop, store",
    "street": "town, city, village, downtown, neighbourhood, neighborhood",
    "kitchen": "house, room",
}

WALLS = (
    "wall, walls, walled, facade, facades, paint, painted walls, wallpaper, backdrop, plaster, house fronts, "
    "house front, house row, row of houses, houses, hills, hill, hillside, buildings, building, hut, huts, "
    "beach hut, cabin, shed, garden wall, station house, station building, parapet, tiles"
)
# The one bright fitting of each place; a colour said of it is the accent.
FITTINGS = {
    "cafe": "awning, canopy, sunblind, marquee",
    "river": "boat, boats, rowing boat, rowboat, canoe, sailboat, barge, dinghy",
    "street": "door, front door, doors, house door, shutters, window shutters",
    "kitchen": "cupboard, cupboards, cabinet, cabinets, kitchen cupboards, stove",
    "forest": "tent, tents, camping tent",
    "beach": "parasol, sun umbrella, beach umbrella, sunshade, parasols",
    "library": "bookcase, bookcases, bookshelf, bookshelves, shelf, shelves",
    "station": "train, trains, tram, locomotive, railcar, railway carriage, carriage",
    "rooftop": "water tank, tank, water tower, cistern",
    "park": "pavilion, gazebo, bandstand, pavilion roof",
}
FITTINGS_ANY = "fittings, fitting, accents, accent, trim, trimmings, details"
FITTING_IS_PLACE = ("train", "tram")  # name the station too when no other place is named
FEATURES = {
    "clock": "clock, wall clock, clock tower, station clock, clocks, clock face",
    "plant": "plant, potted plant, house plant, houseplant, fern, shrub, plants, potted plants, pot plant",
    "lantern": "lantern, paper lantern, lanterns, paper lanterns",
    "flag": "flag, banner, pennant, flagpole, flags, banners, pennants",
    "statue": "statue, sculpture, bust, monument, figurine, statues, sculptures",
    "painting": "painting, portrait, artwork, mural, framed picture, paintings, picture on wall, pictures on wall",
}

# ----------------------------------------------------------------------- shots
# Verbs by how firmly they set the action. A shot draws one action a character: the firmer wins, then the first.
ACTION_FIRM = {
    "run": "run, jog, sprint, race, rush, dash, hurry, chase, gallop, flee",
    "wave": "wave, greet, beckon, say hello, say goodbye, say hi, wave hello, wave goodbye, wave hand, raise hand, "
    "wave at, wave to, lift hand",
    "dance": "dance, twirl, waltz, boogie, tango, spin, sway, pirouette",
    "jump": "jump, hop, leap, bounce, skip, jump up, jump for joy, hop up and down",
    "drink": "drink, sip, slurp, stir, sip from cup, warm hands on cup, drink from cup, have coffee, have tea, "
    "pour tea, pour coffee, take sip",
    "read": "read, leaf through, turn pages, browse, pore over, read from, peruse",
    "phone": "look at phone, check phone, scroll, text, phone, call, talk on phone, make call, make phone call, "
    "take selfie, take photo, take photos, stare at phone, type on phone, type message, be on phone, speak on phone, "
    "tap on phone, answer phone, on phone, use phone, call home, glance at phone, look down at phone",
    "guitar": "play guitar, strum, strum guitar, play music, play song, play tune, busk, play melody, tune guitar, "
    "play on guitar, make music",
    "umbrella": "open umbrella, hold umbrella, carry umbrella, shelter under umbrella, stand under umbrella, "
    "walk under umbrella, put up umbrella, wait under umbrella, shelter",
    "sleep": "sleep, nap, doze, snooze, slumber, dream, fall asleep, lie down, lie asleep, take nap, doze off, "
    "nod off, lie",
}
ACTION_LOOSE = {
    "walk": "walk, stroll, wander, amble, saunter, hike, march, stride, pace, step, go for walk, take walk, "
    "cross, follow, tiptoe, return, enter, come back, go back, walk past, arrive, approach, roam, head, go home, "
    "walk home, come home, pass by, ramble, trot, go, come, "
    "sneak, creep, limp, crawl, climb, stumble, descend, travel, explore, skate",
    "sit": "sit, perch, sit down, take seat, be seated, rest, squat, kneel, settle, have seat, relax",
}
ACTION_IDLE = {
    "stand": "stand, wait, pause, look, watch, gaze, stare, listen, smile, laugh, talk, chat, pose, stop, linger, "
    "stay, stand still, look around, look up, look out, meet, think, wonder, glance, speak, whisper, sing, stand up, "
    "lean, admire, hesitate, breathe, grin, nod, wait for, look back, look on, hum, stand there, shiver, sigh, peer, "
    "bark, meow, purr, growl, sniff, whistle, clap, applaud, cheer, giggle, frown, observe",
}
ACTION_WORDS = {
    "drink": "with cup in hand, cup in hand, mug in hand",
    "read": "book in hand, nose in book, buried in book, lost in book",
    "phone": "phone in hand, phone at ear, phone to ear",
    "guitar": "guitar in hand",
    "umbrella": "under umbrella, beneath umbrella, below umbrella, umbrella in hand, umbrella up, umbrella overhead",
    "sleep": "asleep, fast asleep, sound asleep, half asleep, sleepy",
    "sit": "seated, sat",
}
# Things in somebody's hands: they say the action when held or owned ("with a book", "her guitar").
ACTION_NOUNS = {
    "drink": "coffee, tea, cup, mug, cocoa, hot chocolate, lemonade, juice, espresso, cappuccino, latte, "
    "cup of coffee, cup of tea, mug of tea, mug of coffee, mug of cocoa, cup of cocoa, hot drink, glass of lemonade, "
    "glass of juice, milk, glass of milk, cup of hot chocolate, mug of hot chocolate",
    "read": "book, newspaper, novel, magazine, letter, diary, comic, old book, poem, story book, storybook, "
    "comic book, thick book, picture book, postcard",
    "phone": "phone, telephone, smartphone, mobile, cellphone, cell phone, mobile phone, screen, message, phone screen",
    "guitar": "guitar, ukulele, banjo, lute, acoustic guitar",
    "umbrella": "umbrella, brolly",
}
IRREGULAR = {
    "run": "run runs running ran", "stand": "stand stands standing stood", "sit": "sit sits sitting",
    "drink": "drink drinks drinking drank", "read": "read reads reading", "sleep": "sleep sleeps sleeping slept",
    "sing": "sing sings singing sang", "spin": "spin spins spinning spun", "say": "say says saying said",
    "lie": "lie lies lying lay", "be": "is are was being", "have": "has have having had",
    "take": "take takes taking took",
    "make": "make makes making made", "fall": "falls falling fell", "come": "come comes coming came",
    "go": "go goes going went", "think": "think thinks thinking thought", "hold": "hold holds holding held",
    "speak": "speak speaks speaking spoke", "put": "put puts putting", "flee": "flee flees fleeing fled",
    "leap": "leap leaps leaping leapt leaped", "dream": "dreams dreaming dreamt dreamed",
    "meet": "meet meets meeting met",
    "shelter": "shelters sheltering sheltered", "head": "heads heading headed", "text": "texts texting texted",
    "phone": "phones phoning phoned", "call": "call calls calling", "step": "steps stepping stepped",
    "rest": "rest rests resting rested", "race": "race races racing raced", "stride": "stride strides striding strode",
    "kneel": "kneel kneels kneeling knelt", "cross": "cross crosses crossing crossed",
    "march": "march marches marching marched",
    "lean": "lean leans leaning leaned", "wave": "wave waves waving waved", "watch": "watch watches watching watched",
}  # fmt: skip
DOUBLED = ("jog", "hop", "skip", "sip", "nap", "strum", "chat", "stir", "step", "stop", "squat", "nod", "grin", "hum",
           "tap", "trot", "scrub")  # fmt: skip

CAMERAS = {
    "wide": "wide shot, wide view, wide angle, wide angle shot, long shot, establishing shot, full shot, from afar, "
    "from far away, seen from afar, full view, in wide, extreme wide shot, distant view",
    "medium": "medium shot, mid shot, midshot, medium view, waist shot, medium close up, medium long shot",
    "close": "close up, closeup, close shot, close view, extreme close up, portrait shot, tight shot, up close, "
    "seen up close, close up shot, in close up",
    "pan": "pan, pan shot, panning shot, camera pans, panning, tracking shot, camera slides, camera sweeps, "
    "camera tracks, camera follows, slow pan, camera glides, sideways pan, camera moves sideways, camera pan",
    "zoom": "zoom, zoom in, zooms in, zooming in, camera zooms, camera zooms in, push in, slow zoom, dolly in, "
    "camera moves closer, camera pushes in, camera comes closer, zoom shot, slow zoom in, camera moves in, "
    "camera dollies in, zooming, zooms",
}
CAMERA_FIELD = {"wide": "wide, long, full", "medium": "medium, mid", "close": "close, tight, portrait"}
TIMES = {
    "day": "day, daytime, daylight, morning, noon, midday, afternoon, by day, in day, broad daylight, days, mornings, "
    "afternoons",
    "sunset": "sunset, dusk, evening, twilight, golden hour, sundown, nightfall, dawn, sunrise, setting sun, sun sets, "
    "sun is setting, evening light, low sun, sun goes down, evenings",
    "night": "night, midnight, night time, nighttime, moonlight, moonlit, after dark, under stars, under moon, "
    "starry, starry night, by night, late at night, nightly, at night, full moon, nights",
}
WEATHER = {
    "clear": "clear, sunny, sunshine, sunlit, cloudless, clear sky, blue sky, clear weather, fine weather, in sun, "
    "dry weather, sun shines, sun is shining, fair weather, good weather, clear skies, blue skies, no rain, no snow",
    "rain": "rain, rainy, raining, rains, drizzle, drizzly, drizzling, downpour, rainfall, rainstorm, shower, storm, "
    "stormy, thunderstorm, raindrops, pouring rain, in wet, rain falls, rainswept, pouring, it rains, it is raining, "
    "it rained, it drizzles, it pours",
    "snow": "snow, snowy, snowing, snows, snowfall, snowstorm, blizzard, snowflakes, snow falls, falling snow, "
    "snow covered, snowbound, flurries, it snows, it is snowing, it snowed",
}
PROPS = {
    "bench": "bench, benches, park bench, wooden bench",
    "bicycle": "bicycle, bike, bicycles, bikes, pushbike, tandem",
    "lamp": "lamp, lamppost, lamp post, street lamp, streetlamp, streetlight, street light, floor lamp, lamps, "
    "standing lamp, desk lamp",
    "balloon": "balloon, balloons",
    "suitcase": "suitcase, suitcases, luggage, bag, travel bag, briefcase, baggage",
    "flowers": "flowers, flower, bouquet, roses, tulips, bunch of flowers, daisies, vase of flowers, sunflowers, "
    "bouquet of flowers",
    "ball": "ball, football, beach ball, soccer ball, rubber ball",
    "table": "table, tables, desk, coffee table, picnic table, corner table, wooden table, desks",
}

# -------------------------------------------------------------------- grammar
DETERMINERS = "a an the her his its their my our your this that these those some another every each"
POSSESSIVES = "her his its their my our your"
PRONOUNS = {
    "she": "she, herself",
    "he": "he, himself",
    "it": "it, itself",
    "they": "they, both, both of them, themselves",
}
NEGATIONS = "no, not, without, never, neither, lacking"
COPULAS = "is, are, was, were, being, be, seems"
COUNTS = {"two": 2, "pair of": 2, "couple of": 2, "three": 3, "four": 4, "five": 5, "several": 3, "many": 5}
# Words after which a thing is in somebody's hands, or on somebody.
HAVING = (
    "with, holding, holds, hold, held, carrying, carries, carry, has, have, having, had, wearing, wears, wear, wore, "
    "under, enjoys, enjoying, enjoy, takes, take, taking, took, plays, play, playing, played, over, sharing, shares, "
    "share, into, opens, opening, open, opened, orders, ordering, order, beneath, gets, getting, get, picks up, "
    "picking up, reaches for, warms, warming, writes, writing, write, finishes, finishing, closes, puts down, "
    "puts away, tunes, buys, buying, folds, shakes, unfolds, dressed, clad, dresses"
)
DRESSED = "wears, wearing, wear, wore, dressed, clad, dresses, in"
COMPANION = "with, alongside, together with, along with"
PREPOSITIONS = (
    "in, at, to, toward, towards, past, behind, near, for, of, around, about, after, opposite, before, on, from, "
    "in front of, like, against, between, beside, next to, alongside, together with, by side of, along with, by, "
    "along, through, across, out of, inside, outside, onto, upon, during, above, below, within, beyond, underneath, "
    "since, till, than, on top of, in middle of"
)
BREAKS = "while, as, when, then, whereas, who, whose, which, until, because, but, meanwhile, so, where, if"
FUNCTION_WORDS = (
    "or, nor, up, down, out, off, there, here, again, once, also, too, still, just, only, now, later, soon, together, "
    "away, back, home, alone, one, other, all, him, them, me, us, we, i, you, what, "
    "been, will, can, could, would, must, should, more, most, less, much, even, ever, always, often, "
    "sometimes, yet, already, almost, nearly, next, last, first, second, third, final, same, such, own, any, "
    "somebody, someone, everybody, everyone, nobody, side by side, hand in hand, aside, "
    "apart, ahead, forward, do, does, did, far, nearby, close, close by, in front, at last, at once, of course, time, "
    "times, moment, minute, hour, today, tomorrow, everywhere, somewhere, not far, it is, it was"
)

# Known, but without effect on the picture: said so honestly. Nouns end a noun phrase ("a red handbag": nothing red).
SILENT_NOUNS = (
    "window, windows, windowsill, glass, light, lights, sunlight, lamplight, shadow, shadows, air, wind, breeze, "
    "sky, cloud, clouds, fog, mist, haze, sun, moon, stars, leaf, leaves, tree, trees, branch, branches, grass, "
    "path, trail, water, sand, stone, stones, steam, smoke, puddle, puddles, mud, floor, ceiling, ground, "
    "corner, chair, chairs, stool, sofa, couch, bed, blanket, rug, carpet, pot, pots, kettle, oven, fridge, armchair, "
    "slide, kiosk, cliff, cliffs, curtain, curtains, counter, menu, bread, "
    "cake, pastry, sandwich, apple, fruit, food, breakfast, lunch, dinner, supper, soup, plate, spoon, bowl, hand, "
    "hands, arm, arms, face, eyes, eye, head, shoulder, shoulders, feet, foot, legs, tail, ears, ear, nose, "
    "whiskers, paw, paws, skin, freckles, glasses, shoes, boots, gloves, trousers, jeans, skirt, shorts, socks, "
    "tie, belt, button, buttons, pocket, pockets, hood, collar, handbag, backpack, basket, box, parcel, film, "
    "style, mood, colour, colours, color, colors, tone, tones, palette, texture, grain, scene, shot, view, story, "
    "tale, chapter, beginning, camera, picture, pictures, photo, photos, image, frame, background, foreground, "
    "cinema, animation, cartoon, illustration, autumn, spring, summer, winter, season, seasons, weekend, sunday, "
    "saturday, monday, holiday, christmas, weather, year, years, world, life, friend, friends, people, person, "
    "passer by, passers by, crowd, stranger, family, couple, neighbour, neighbours, traveller, traveler, musician, "
    "painter, artist, baker, chef, cook, student, teacher, doctor, writer, poet, librarian, gardener, sailor, "
    "singer, band, dancer, detective, inventor, explorer, astronaut, nurse, owner, guest, customer, hero, heroine, "
    "twin, twins, companion, stationmaster, song, tune, music, melody, notes, note, sound, noise, silence, voice, "
    "word, words, secret, joke, idea, plan, game, party, picnic, concert, goodbye, hello, trip, journey, "
    "visit, adventure, memory, memories, love, joy, surprise, hope, bird, birds, seagull, seagulls, duck, ducks, "
    "fish, butterfly, car, cars, bus, ship, ships, rail, rails, tracks, track, ticket, gate, fence, stairs, "
    "staircase, entrance, exit, doorway, porch, shops, shop window, shop windows, stall, stalls, "
    "roofs, chimney, chimneys, tower, skyline, horizon, distance, traffic, fountain, pond, bush, bushes, "
    "mushroom, mushrooms, shell, shells, "
    "sandcastle, campfire, fire, candle, candles, mirror, radio, television, computer, laptop, pen, pencil, keys, "
    "pages, page, books, rows, row, stack, pile, map, news, drop, drops, smell, taste, line, lines, name, names, "
    "age, height, kind, sort, piece, lot, bit, things, thing, something, nothing, others, encounter, reunion, "
    "departure, arrival, mystery, lullaby, rhythm, stage, audience, phone booth, phone box, coffee machine, teapot, "
    "tea time, coffee break, book club, guitar case, ball game, snow globe, snowman, rain boots, sun rays, day "
    "trip, birthday, number, version, place, places, spot, sight, streak, loop, circle, turn, way home, promise, "
    "end, side, middle, edge, centre, center, part, bottom, front, way, morning coffee"
)
SILENT_WORDS = (
    "warm, cold, cool, hot, chilly, cosy, cozy, quiet, quietly, silent, silently, soft, softly, gentle, gently, "
    "calm, calmly, slow, slowly, quick, quickly, fast, happy, happily, sad, sadly, cheerful, cheerfully, tired, "
    "sleepily, lonely, busy, empty, crowded, fogged, foggy, misty, hazy, cloudy, windy, breezy, overcast, autumnal, "
    "wintry, bright, brightly, dim, dark, darkening, pale, deep, vivid, colourful, colorful, faded, worn, "
    "beautiful, pretty, handsome, lovely, nice, sweet, cute, charming, friendly, kind hearted, kindly, curious, "
    "shy, proud, brave, clever, wise, lazy, playful, playfully, elegant, fancy, simple, neat, tidy, messy, curly, "
    "wavy, straight, shaggy, fluffy, smooth, thick, thin, fat, chubby, slim, slender, round, square jawed, heavy, "
    "wooden, woolen, woollen, knitted, knit, woolly, leather, silk, cotton, denim, velvet, quilted, padded, paper, "
    "glassy, metallic, rusty, shiny, polished, wet, dry, dusty, clean, fresh, ripe, leafy, ancient, modern, "
    "vintage, classic, cinematic, dreamy, romantic, mysterious, magical, peaceful, nostalgic, grainy, detailed, "
    "hand drawn, animated, stylised, stylized, realistic, gloomy, glowing, sparkling, shimmering, narrow, broad, "
    "steep, cobbled, coloured, colored, hued, matching, favourite, favorite, familiar, different, suddenly, "
    "finally, carefully, eagerly, patiently, excitedly, thoughtfully, wistfully, lazily, loudly, merrily, joyfully, "
    "deeply, peacefully, briskly, hurriedly, oversized, fitted, loose, buttoned, bearded, freckled, barefoot, "
    "retired, elderly, middle aged, aged, teenage, local, wild, stray, loyal, faithful, grumpy, noisy, comfy, "
    "comfortable, steaming, fallen, falling, blowing, drifting, passing, deserted, sleepless, eats, eating, eat, "
    "rides, riding, ride, helps, helping, gives, giving, give, finds, finding, find, sees, seeing, see, hears, "
    "hearing, feels, feeling, knows, tells, telling, asks, asking, shows, showing, brings, bringing, keeps, "
    "keeping, kept, makes, making, made, works, working, tries, trying, begins, starts, starting, turns, turning, "
    "moves, moving, points, pointing, hugs, hugging, kisses, crying, cries, yawns, yawning, wakes, waking, wakes "
    "up, waking up, stretches, stretching, feeds, feeding, throws, throwing, catches, catching, kicks, kicking, "
    "pushes, pulls, pulling, leaving, leave, left behind, loses, lost, hides, hiding, seeks, searches, searching, "
    "visits, visiting, joins, joining, cooks, cooking, bakes, baking, paints, draws, drawing, cleans, cleaning, "
    "waters, watering, missing, becomes, becoming, appears, disappears, shines, shining, glows, falls, blows, "
    "drifts, flies, flying, grows, hangs, hanging, fills, filled, covered, lit, surrounded, full, wrapped, tied, "
    "decorated, called, named, known, set, lined, leaning back, overlooking, cross legged, lives, living, passes, "
    "remembers, remembering, dreaming of, misses, sets off, sets out, gathers, gather, gathering, ends, ending, "
    "starts to, begins to, once more, very, quite, rather, so called, old, new, young, long, wide, high, low, left, "
    "right, top, early, late, such as, dreamily, heart, coastal, lighting, sly, heartwarming, whimsical, epic, "
    "dramatic, tender, serene, tranquil, moody, atmospheric, pixar, ghibli, anime, watercolour, watercolor, "
    "painterly, pastel, muted, saturated, contrast, high contrast, focus, shallow, bokeh, slow motion, handheld, "
    "steady, static, single take, aerial, backlit, silhouette, silhouetted, rich, lush, crisp, sharp, blurry, "
    "blurred, photorealistic, hd, 4k, 8k, 35mm, vhs, retro, rural, urban, suburban, industrial, mediterranean, "
    "european, japanese, french, italian, english, american, old fashioned, traditional, mischievous, nervous, "
    "nervously, anxious, anxiously, bored, excited, surprised, worried, relieved, angry, angrily, furious, "
    "frightened, scared, hungry, thirsty, sick, drunk, dizzy, confused, focused, concentrated, determined, amused, "
    "amazed, delighted, content, contented, pensive, thoughtful, melancholic, nostalgically, hopeful, hopefully, "
    "gracefully, clumsily, clumsy, elegantly, awkwardly, swims, swimming, swim, eaten, bites, biting, chews, licks, "
    "licking, swings, swinging, roll, rolls, rolling, crash, crashes, crashing, ripples, rippling, echo, echoes, "
    "echoing, splash, splashes, splashing, digs, digging, builds, repairs, fixes, fixing, cuts, cutting, sews, "
    "knits, knitting, sweeps, sweeping, washes, washing, pets, petting, strokes, stroking, cuddles, cuddling, holds "
    "on, lets go"
)
