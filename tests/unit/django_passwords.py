#!/usr/bin/python3
"""What Django's four validators say about made-up passwords of made-up people, as JSON:
django_passwords.py LIST -> [[password, username, first name, last name, e-mail, [messages]], …]"""
import json
import random
import sys

from django.conf import settings

settings.configure(USE_I18N=False, INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"])
import django                                                               # noqa: E402

django.setup()
from django.contrib.auth import password_validation as validators           # noqa: E402
from django.contrib.auth.models import User                                 # noqa: E402
from django.core.exceptions import ValidationError                          # noqa: E402

PEOPLE = [
    ("ada", "Ada", "Lovelace", "ada.lovelace@example.org"),
    ("grace_hopper-1906", "Grace Brewster", "Murray Hopper", "grace@navy.example.mil"),
    ("łukasz", "Łukasz", "Żółkiewski", "lukasz@example.pl"),
    ("mueller", "JÖRG", "MÜLLER-LÜDENSCHEIDT", "joerg.mueller+site@example.de"),
    ("иванов", "Иван", "Иванов", "ivanov@example.ru"),
    ("李小龍", "小龍", "李", "bruce@example.hk"),
    ("x", "", "", "x@y.z"),
    ("", "", "", ""),
    ("a.b.c.d.e.f", "Ann", "O'Neill–Smith", "a_b-c.d@sub.example.co.uk"),
    ("papadopoulos", "Γιώργος", "Παπαδόπουλος", "gp@example.gr"),
]
DIGITS = ["0123456789", "٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "𝟘𝟙𝟚𝟛𝟜𝟝𝟞𝟟𝟠𝟡"]


def passwords(rng, person, words):
    values = [v for v in person if v]
    for value in values:
        for piece in dict.fromkeys([value, *value.translate(str.maketrans("@.-", "   ")).split()]):
            yield from (piece, piece.upper(), piece + "1", piece[::-1], piece * 2, "x" + piece + "yz")
            yield piece + "".join(rng.choices("abcdef123", k=rng.randint(1, 9)))
            yield "".join(rng.sample(piece, len(piece)))
            yield piece[:max(1, len(piece) * 2 // 3)] + "".join(rng.choices("qwz_7", k=len(piece) // 2))
    for word in rng.sample(words, 12):
        yield from (word, word.upper(), " " + word.title() + "\t", word + "!")
    for digits in DIGITS:
        yield "".join(rng.choices(digits, k=rng.randint(1, 14)))
        yield "".join(rng.choices(digits, k=9)) + rng.choice("a -.")
    for length in (1, 7, 8, 9, 128, 1200):
        yield "".join(rng.choices("abcdefgh ijklmnop.QRSTUVWXYZ0123456789äöüßé漢😀", k=length))
    yield from ("éàüöñ漢字", "éàüöñ漢字1", "😀" * 7, "😀" * 8, "correct horse battery staple")


def main(path):
    with open(path, encoding="utf-8") as f:
        words = [line.rstrip("\n") for line in f if not line.startswith("# ")]
    used = [validators.UserAttributeSimilarityValidator(), validators.MinimumLengthValidator(),
            validators.CommonPasswordValidator(path), validators.NumericPasswordValidator()]
    rng = random.Random(20)
    out = []
    for person in PEOPLE:
        user = User(**dict(zip(("username", "first_name", "last_name", "email"), person)))
        for password in passwords(rng, person, words):
            said = []
            try:
                validators.validate_password(password, user, used)
            except ValidationError as e:
                said = e.messages
            out.append([password, *person, said])
    json.dump(out, sys.stdout)


main(sys.argv[1])
