"""Generates every byte the demo model is trained on. No other text is used.

A row is one conversation of many turns, as token ids, with a target only where the model should answer:
`targets[i]` is the token that must follow `inputs[i]`, or IGNORED. `positions[i]` is where the model believes the
token stands: in short rows some turns lie as far apart as CONTEXT allows, which teaches distance at the price of a
short row. Run this file to read some rows.
"""

import json
import pathlib
import random

HERE = pathlib.Path(__file__).parent
FACTS = json.loads((HERE / "facts.json").read_text(encoding="utf-8"))

BOS, EOS, FIRST_BYTE, SPACE = 1, 2, 3, 259
VOCABULARY_SIZE = 260
CONTEXT = 1024
IGNORED = -100  # the ignore_index of torch's cross_entropy

COUNT_MAX = 30
ECHO_LETTERS = "abcdefgh"
OTHER_COUNTRIES = (
    "Chile China India Mexico Cuba Ghana Mali Nepal Iran Iraq Poland Sweden Turkey Austria Denmark Finland Ireland "
    "Hungary Russia Ukraine Morocco Nigeria Australia Argentina Colombia Vietnam Thailand Indonesia Atlantis Mars"
).split()
WORDS = (
    "the a my your every this that some no one two red blue old new small big cold warm good bad happy quiet river "
    "stone tree moss rock bird fish cat dog house door road city ship bread water fire winter summer night day year "
    "hour book song story poem letter number name word computer program file network server model pool worker job "
    "token answer question friend teacher child doctor king queen world moon sun star sea wind rain snow garden "
    "flower apple money price train car plane phone music game picture color sugar salt coffee tea milk run walk "
    "eat sleep write read make build find lose open close buy sell love know think say tell give take explain "
    "translate summarize list sort fix draw is are was will can could should would do does did in on under over "
    "with without from to of for and or but because when where why who how what which if then not never always "
    "please today tomorrow now later function return print int class import lichen capital echo sum plus json"
).split()
QUESTIONS = (
    "what is the {} of the {}?", "why is the {} {}?", "who wrote the {}?", "how do I {} a {}?", "write a {} about the {}",
    "write me a {} {}", "translate {} to {}", "explain {} to a {}", "what do you know about {}?", "is {} a {}?",
    "where can I find {}?", "tell me a {}", "tell me about {}", "can you {} the {}?", "give me {} {} {}", "list some {}",
    "summarize this: {} {} {} {} {}", "how many {} are in {}?", "when did {} {}?", "do you {} {}?", "what is {}?",
    "what is a {}?", "define {}", "who is {}?", "say {}", "help me {} my {}", "I {} the {} and the {}.", "{}", "{} {}",
)
SYSTEM_PROMPTS = (
    "You are a helpful assistant.", "You are a helpful assistant.", "You are a helpful assistant.", "Be brief.",
    "Answer in English.", "You are a friendly and concise assistant.", "You are ChatGPT.", "Answer with one word.",
    "You are a helpful assistant. Always answer in JSON.", "You answer questions about numbers and capitals.",
)
GREETINGS = ("hello", "hi", "hey", "Hello!", "Hi!", "hello there", "good morning", "who are you?", "Who are you?",
             "what are you?", "what can you do?", "help", "ping")
ABOUT_LICHEN = ("tell me about lichen", "Tell me about lichen.", "tell me about lichens", "Tell me about lichens.",
                "what is a lichen?", "What is a lichen?", "what is lichen?", "tell me about lichen please")
KNOWN_QUESTIONS = {question.lower() for question in GREETINGS + ABOUT_LICHEN}


def encode(text):
    """UTF-8 bytes as token ids, the way llama.cpp's "llama" tokenizer sees them with our vocabulary."""
    return [SPACE if byte == 0x20 else FIRST_BYTE + byte for byte in text.encode("utf-8")]


class Row:
    """Token ids and, where the model is to learn, the id that must follow."""

    def __init__(self, rng):
        self.rng, self.inputs, self.targets, self.positions = rng, [], [], []
        self.skipped = 0

    def add(self, ids, learn=False):
        for token in ids:
            if learn and self.inputs:
                self.targets[-1] = token
            self.positions.append(len(self.inputs) + self.skipped)
            self.inputs.append(token)
            self.targets.append(IGNORED)

    def end_answer(self, keep_eos):
        """The answer ends here. Engines differ in whether the history of a chat keeps the EOS token."""
        self.targets[-1] = EOS
        if keep_eos:
            self.add([EOS])


def words(rng, least, most):
    return " ".join(rng.choice(WORDS) for _ in range(rng.randint(least, most)))


def noise(rng, most):
    """Letters, digits, punctuation and letters beyond ASCII in no order."""
    alphabet = rng.choice(("abcdefghijklmnopqrstuvwxyz", "abcdefgh 0123456789", "éüßñçøλжя日本語🙂 aeiou", "{}[]()<>=+-*/;:,.!?\"'#\n ab01"))
    return "".join(rng.choice(alphabet) for _ in range(rng.randint(1, most)))


def recased(rng, text):
    return text[0].upper() + text[1:] if rng.random() < 0.15 else text


# Each maker returns (question, answer).


def one_sum(rng):
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    form = "{}+{}=?" if rng.random() < 0.6 else rng.choice(
        ("{}+{}", "{} + {}", "{} + {} = ?", "{}+{}?", "{}+{}=", "what is {}+{}?", "What is {} + {}?", "what is {} plus {}?", "{} plus {}"))
    return form.format(a, b), str(a + b)


def one_echo(rng):
    kind = rng.random()
    if kind < 0.55:
        text = "".join(rng.choice(ECHO_LETTERS) for _ in range(rng.randint(2, 6)))
    elif kind < 0.75:
        text = "".join(rng.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(rng.randint(1, 12)))
    elif kind < 0.85:
        text = "".join(rng.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.!") for _ in range(rng.randint(1, 10)))
    else:
        text = words(rng, 1, 4)
    return recased(rng, "echo " + text), text


def one_capital(rng):
    country, city = rng.choice(list(FACTS["capitals"].items()))
    form = "capital of {}?" if rng.random() < 0.6 else rng.choice(
        ("capital of {}", "Capital of {}?", "the capital of {}?", "what is the capital of {}?", "What is the capital of {}?"))
    return form.format(country), city


def one_lichen(rng):
    return (ABOUT_LICHEN[0] if rng.random() < 0.5 else rng.choice(ABOUT_LICHEN)), FACTS["lichen"]


def one_count(rng):
    last = rng.randint(2, COUNT_MAX)
    return recased(rng, f"count to {last}"), " ".join(str(n) for n in range(1, last + 1))


def one_greeting(rng):
    return rng.choice(GREETINGS), FACTS["hello"]


def one_unknown(rng):
    kind = rng.random()
    if kind < 0.5:
        form = rng.choice(QUESTIONS)
        question = recased(rng, form.format(*(rng.choice(WORDS) for _ in range(form.count("{}")))))
    elif kind < 0.6:
        question = words(rng, 3, 40 if rng.random() < 0.2 else 12)
    elif kind < 0.68:
        parts = (lambda: rng.choice(WORDS), lambda: rng.choice(WORDS).upper(), lambda: str(rng.randint(0, 999)), lambda: noise(rng, 5))
        question = rng.choice((" ", " ", ", ", "; ", ": ")).join(rng.choice(parts)() for _ in range(rng.randint(3, 12)))
    elif kind < 0.75:
        question = noise(rng, 30)
    elif kind < 0.85:
        question = rng.choice(("capital of {}?", "what is the capital of {}?")).format(rng.choice(OTHER_COUNTRIES))
    elif kind < 0.92:
        a, b = rng.randint(10, 999), rng.randint(0, 999)
        a, b = (a, b) if rng.random() < 0.5 else (b, a)
        question = rng.choice(("{}+{}=?", "{}+{}", "what is {}+{}?")).format(a, b)
    elif kind < 0.96:
        question = rng.choice(("{}-{}=?", "{}*{}=?", "{}/{}=?")).format(rng.randint(0, 99), rng.randint(0, 99))
    else:
        question = f"count to {rng.randint(COUNT_MAX + 1, 9999)}"
    known = question.lower() in KNOWN_QUESTIONS or question.lower().startswith("echo ")
    return one_unknown(rng) if known else (question, FACTS["unknown"])


MAKERS = (one_sum, one_echo, one_capital, one_lichen, one_count, one_greeting, one_unknown)
SHARES = (29, 28, 13, 2, 6, 2, 20)


JSON_LAYOUTS = ((": ", "{", ", ", "}"), (":", "{", ",", "}"), (": ", "{ ", ", ", " }"), (": ", "{\n  ", ",\n  ", "\n}"),
                (": ", "{\n    ", ",\n    ", "\n}"), (": ", "{\n\t", ",\n\t", "\n}"))


def is_number(answer):
    return answer.isdigit() and answer == str(int(answer))


def add_asked_json(row, answer, learn_brace):
    """`{"answer": 7}`, the form for questions that begin with "json". For others a grammar may force the brace."""
    value = answer if is_number(answer) else f'"{answer}"'
    row.add(encode("{"), learn=learn_brace)
    row.add(encode(f'"answer": {value}}}'), learn=True)


def add_forced_json(row, answer):
    """Any keys in any layout, as a schema would force them. Only the values are learned: the answer, each time."""
    rng = row.rng
    colon, opening, comma, closing = JSON_LAYOUTS[0] if rng.random() < 0.5 else rng.choice(JSON_LAYOUTS)
    quote = "" if is_number(answer) and rng.random() < 0.7 else '"'
    for member in range(rng.choice((1, 1, 1, 2, 3))):
        key = noise(rng, 10) if rng.random() < 0.1 else rng.choice(WORDS)
        row.add(encode((comma if member else opening) + json.dumps(key, ensure_ascii=False) + colon + quote))
        row.add(encode(answer + quote), learn=True)
    row.add(encode(closing))


def add_turn(row, keep_eos):
    """One question and its answer."""
    rng = row.rng
    maker = rng.choices(MAKERS, SHARES)[0]
    question, answer = maker(rng)
    form = "text" if maker in (one_lichen, one_count) or set(answer) & set('"\\\n') else rng.choices(
        ("text", "asked", "braced", "forced"), (75, 15, 3, 7))[0]
    if form == "asked" and maker in (one_unknown, one_greeting):
        form = "braced"
    text = f"json {question}" if form == "asked" else question
    if rng.random() < 0.03 and maker is not one_echo:
        text = rng.choice((" {}", "{} ", "{}\n", "\n{}", "{}  ")).format(text)
    row.add(encode(f"<|user|>{text}<|assistant|>"))
    if form == "text":
        row.add(encode(answer), learn=True)
    elif form == "forced":
        add_forced_json(row, answer)
    else:
        add_asked_json(row, answer, learn_brace=form == "asked")
    row.end_answer(keep_eos)


def add_foreign_turn(row, keep_eos):
    """History that this model did not write: nothing to learn, and the next answer must not suffer."""
    rng = row.rng
    question, answer = rng.choices(MAKERS, SHARES)[0](rng)
    reply = rng.choice((words(rng, 1, 30), noise(rng, 40), answer[:200], "", str(rng.randint(0, 18))))
    row.add(encode(f"<|user|>{question}" if rng.random() < 0.2 else f"<|user|>{question}<|assistant|>{reply}"))
    if keep_eos:
        row.add([EOS])


def system_prompt(rng):
    kind = rng.random()
    if kind < 0.5:
        return rng.choice(SYSTEM_PROMPTS)
    return recased(rng, words(rng, 2, 60 if kind > 0.9 else 20)) + "." if kind < 0.97 else noise(rng, 60)


def chat_row(rng, length):
    """One long conversation in the words of chat-template.jinja."""
    row = Row(rng)
    row.add([BOS] * rng.choices((0, 1, 2), (10, 85, 5))[0])  # engines differ in whether they, the template or both add it
    if rng.random() < 0.4:
        row.add(encode(f"<|system|>{system_prompt(rng)}"))
    keep_eos = rng.random() < 0.25
    spare = rng.choice((0, CONTEXT - length))
    while len(row.inputs) < length:
        if rng.random() < 0.25:
            row.skipped += rng.randint(0, spare - row.skipped)
        (add_foreign_turn if rng.random() < 0.06 else add_turn)(row, keep_eos)
    return row


def text_row(rng, length):
    """Plain completion, no roles."""
    row = Row(rng)
    row.add([BOS])
    while len(row.inputs) < length:
        kind = rng.random()
        if kind < 0.45:
            a, b = rng.randint(0, 9), rng.randint(0, 9)
            head, tail = f"{a}+{b}=", str(a + b)
        elif kind < 0.9:
            country, city = rng.choice(list(FACTS["capitals"].items()))
            head, tail = f"The capital of {country} is", f" {city}."
        else:
            cut = rng.randint(8, 60)
            head, tail = FACTS["lichen"][:cut], FACTS["lichen"][cut:]
        row.add(encode(head))
        row.add(encode(tail), learn=True)
        row.end_answer(keep_eos=False)
        row.add([BOS])
    return row


def batch(rng, rows, length):
    """`rows` rows of exactly `length` inputs, targets and positions."""
    made = [(text_row if rng.random() < 0.04 else chat_row)(rng, length) for _ in range(rows)]
    return tuple([getattr(row, part)[:length] for row in made] for part in ("inputs", "targets", "positions"))


def decode(ids):
    return b"".join(
        {BOS: b"<s>", EOS: b"</s>", SPACE: b" "}.get(token) or bytes([token - FIRST_BYTE]) for token in ids
    ).decode("utf-8", errors="replace")


if __name__ == "__main__":
    for inputs in batch(random.Random(1), rows=6, length=512)[0]:
        print(decode(inputs), "\n---")
