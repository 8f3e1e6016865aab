"""Sentences of a small context-free grammar: about 640 words, about nine in a sentence, covering every phone of ARPAbet."""

import hashlib

import numpy as np

from spin.runtime.seeding import generator

SEED = 0  # of voices, sentences and channels; another seed is another corpus
# Sentences are dealt to three pools by their own hash, so that no sentence of one pool can ever be drawn for another.
POOLS = {"test": (0, 2), "valid": (2, 4), "train": (4, 16)}
# Upper-case names are categories, lower-case ones words. Alternatives are separated by '|', repeated ones are more likely.
RULES = """
SENTENCE: STATEMENT | STATEMENT | STATEMENT | STATEMENT | QUESTION | REPORT | WISH | TIMED | TIMED
STATEMENT: GROUP PAST_ACTION THING PLACE | GROUP PAST_ACTION THING PLACE WHEN | PERSON MOVED ROUTE WHEN | THING_THE WAS
    QUALITY_MORE
QUESTION: did PERSON ACTION THING WHEN | why did GROUP ACTION THING PLACE | where will PERSON ACTION THING | how MEASURE was
    THING_THE
REPORT: PERSON SAID that GROUP PAST_ACTION THING PLACE | PERSON SAID that THING_THE WAS QUALITY | PERSON SAID that GROUP could
    not ACTION THING
WISH: please ACTION THING before DAYTIME | let us ACTION THING PLACE | PERSON will ACTION THING PLACE WHEN | you should never
    ACTION THING PLACE
TIMED: WHEN GROUP PAST_ACTION THING PLACE | at DAYTIME PERSON MOVED ROUTE and VERB_PAST THING | on DAY GROUP PAST_ACTION
    NUMBER THINGS | in MONTH NUMBER PEOPLE MOVED ROUTE
GROUP: PERSON | PERSON | the ROLE | the QUALITY ROLE | NUMBER PEOPLE | PERSON and PERSON | my KIN | his KIN | our KIN
PERSON: arthur | beatrice | charlie | dorothy | edward | florence | george | hannah | isaac | julia | kenneth | laura |
    matthew | nora | oliver | phoebe | quentin | rachel | stephen | theresa | ursula | victor | walter | xavier | yvonne |
    zachary | abigail | boris | chloe | duncan | esther | felix | grace | howard | ian | joyce
ROLE: farmer | doctor | teacher | sailor | painter | lawyer | baker | butcher | singer | judge | soldier | nurse | writer |
    hunter | captain | priest | student | thief | king | queen | child | stranger | neighbour | gardener | musician | merchant
    | shepherd | engineer | pilot | journalist
PEOPLE: farmers | doctors | teachers | sailors | boys | girls | women | men | children | soldiers | judges | strangers |
    neighbours | cousins | travellers | villagers | witches | youths
KIN: mother | father | brother | sister | uncle | aunt | cousin | grandmother | grandfather | daughter | husband | nephew
PAST_ACTION: VERB_PAST | VERB_PAST | VERB_PAST | ADVERB VERB_PAST
VERB_PAST: found | lost | carried | bought | sold | painted | washed | opened | closed | watched | dropped | measured |
    borrowed | cooked | cleaned | wanted | noticed | repaired | covered | pulled | pushed | followed | loved | feared |
    changed | chose | drew | hid | kept | left | needed | offered | picked | reached | shared | threw | touched | used |
    visited | wrote about | looked for | laughed at | thought of | asked for | enjoyed | joined
ACTION: find | lose | carry | buy | sell | paint | wash | open | close | watch | drop | measure | borrow | cook | clean | want
    | notice | repair | cover | pull | push | follow | love | fear | change | choose | draw | hide | keep | leave | need |
    offer | pick | reach | share | throw | touch | use | visit | enjoy | join | look for | think of | ask for
THING: THING_THE | THING_THE | a OBJECT | a COLOUR OBJECT | NUMBER THINGS | some FOOD | the COLOUR OBJECT | POSSESSOR OBJECT
THING_THE: the OBJECT | the OBJECT | the QUALITY OBJECT | the ANIMAL | the COLOUR ANIMAL | the FOOD
POSSESSOR: my | your | his | her | our | their
OBJECT: table | chair | window | door | lamp | mirror | basket | bottle | box | book | letter | picture | map | clock | watch
    | ring | chain | coin | knife | spoon | bowl | cup | kettle | candle | blanket | pillow | carpet | hammer | ladder | rope
    | wheel | boat | ship | cart | bicycle | engine | train | bridge | fence | gate | wall | roof | chimney | garden | flower
    | rose | tree | branch | leaf | stone | shell | feather | jacket | shirt | shoe | glove | hat | scarf | button | needle |
    thread | drum | violin | trumpet | piano | bell | flag | sword | shield | crown | treasure | jewel | purse | envelope |
    newspaper | pencil | toy | balloon | kite | umbrella | cage | barrel | bucket
THINGS: tables | chairs | windows | doors | lamps | mirrors | baskets | bottles | boxes | books | letters | pictures | maps |
    clocks | rings | chains | coins | knives | spoons | bowls | cups | candles | blankets | ropes | wheels | boats | ships |
    carts | bridges | gates | flowers | roses | trees | leaves | stones | shells | feathers | jackets | shirts | shoes |
    gloves | hats | buttons | drums | bells | flags | swords | jewels | pencils | toys | kites | horses | sheep | birds |
    fishes | dogs | cats | geese | foxes
ANIMAL: horse | cow | sheep | goat | dog | cat | mouse | fox | wolf | bear | bird | owl | crow | goose | chicken | duck | fish
    | whale | snake | frog | rabbit | donkey | monkey | tiger | lion | elephant | zebra | camel | beetle | spider
FOOD: bread | butter | cheese | milk | sugar | salt | honey | rice | soup | meat | fruit | chocolate | coffee | juice | water
    | oil | corn | flour | ginger | vinegar
COLOUR: red | blue | green | yellow | black | white | brown | grey | purple | orange | golden | silver
QUALITY: old | young | small | large | tall | heavy | light | broken | beautiful | ugly | quiet | noisy | clever | foolish |
    gentle | rough | smooth | strange | familiar | cheap | rich | poor | hungry | thirsty | happy | angry | lazy | brave |
    cruel | generous | curious | precious | ancient | modern | hollow | empty | shallow | narrow | thick | thin | usual | huge
    | cold | warm | wet | dry
QUALITY_MORE: QUALITY and QUALITY | very QUALITY | too QUALITY for GROUP | as QUALITY as the ANIMAL | not QUALITY enough |
    more QUALITY than the OBJECT
MEASURE: heavy | old | tall | large | cold | thick
WAS: was | was | is | will be | seemed | became | looked
SAID: said | thought | believed | heard | knew | wrote | hoped | told us | dreamed | agreed
MOVED: walked | ran | rode | travelled | hurried | wandered | returned | drove | sailed | marched | crawled | rushed
ROUTE: WAY the SITE | WAY the QUALITY SITE | from the SITE to the SITE | home WAY the SITE | back to TOWN
WAY: through | across | around | towards | over | along | past | beyond
PLACE: AT the SITE | AT the QUALITY SITE | AT the OBJECT | in TOWN | near TOWN
AT: in | behind | under | beside | near | above | below | between the OBJECT and
SITE: house | kitchen | church | school | market | village | city | castle | forest | river | valley | mountain | island |
    harbour | beach | field | meadow | road | station | factory | library | museum | hospital | theatre | prison | tower |
    cave | desert | ocean | lake | stable | cellar | yard | square | palace | farm | shore | marsh | jungle | bridge
TOWN: london | paris | dublin | boston | chicago | oxford | cambridge | venice | moscow | cairo | geneva | york
WHEN: yesterday | today | tomorrow | last week | last year | this morning | this evening | on DAY | in MONTH | before DAYTIME
    | after DAYTIME | every DAY | NUMBER days ago | NUMBER hours later
DAYTIME: breakfast | lunch | dinner | noon | midnight | sunrise | sunset | dawn | NUMBER in the morning
DAY: monday | tuesday | wednesday | thursday | friday | saturday | sunday
MONTH: january | february | march | april | may | june | july | august | september | october | november | december
NUMBER: two | three | four | five | six | seven | eight | nine | ten | eleven | twelve | twenty | thirty | forty | fifty | a
    hundred | a thousand
ADVERB: quickly | slowly | quietly | suddenly | finally | usually | gently | never | always | often | secretly | carefully |
    already | nearly | once
"""
_LINES = RULES.replace("\n    ", " ").split("\n")[1:-1]
ALTERNATIVES = {
    name: tuple(tuple(choice.split()) for choice in rule.split("|")) for name, rule in (line.split(":") for line in _LINES)
}


def draw_sentence(speaker: int, number: int, pool: str) -> str:
    """The sentence of a (speaker, number), normalised; of the pool asked for."""
    low, high = POOLS[pool]
    random = generator("generated text", SEED, pool, speaker, number)
    while True:
        text = _expand("SENTENCE", random).upper()
        if low <= hashlib.blake2b(text.encode(), digest_size=1).digest()[0] % 16 < high:
            return text


def _expand(symbol: str, random: np.random.Generator) -> str:
    if symbol not in ALTERNATIVES:
        return symbol
    choices = ALTERNATIVES[symbol]
    return " ".join(_expand(part, random) for part in choices[int(random.integers(len(choices)))])
