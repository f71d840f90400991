# SPDX-License-Identifier: Apache-2.0
"""A small, explainable classifier: words of the description against words of each heading.

Korean glues particles and nouns together, so a word counts when it occurs anywhere in the text;
an English word must stand alone, or end in a plural s.
"""
import re

HEADINGS = (
    ("1211.20", "Ginseng roots", ("홍삼", "인삼", "수삼", "ginseng", "root")),
    ("2008.99", "Roasted laver", ("김", "조미김", "laver", "seaweed", "nori", "roasted")),
    ("1006.30", "Milled rice", ("쌀", "재스민", "rice", "jasmine", "milled")),
    ("1511.90", "Palm oil, refined", ("팜유", "palm", "oil", "refined")),
    ("8534.00", "Printed circuits", ("회로", "기판", "circuit", "board", "pcb", "printed")),
    ("8542.31", "Processors and controllers", ("반도체", "프로세서", "processor", "chip", "cpu")),
    ("8507.60", "Lithium-ion accumulators", ("배터리", "리튬", "battery", "lithium", "cell")),
    ("3304.99", "Beauty preparations", ("화장품", "크림", "cosmetic", "cream", "skincare", "lotion")),
    ("6109.10", "T-shirts of cotton", ("티셔츠", "면", "shirt", "cotton", "tshirt")),
    ("1902.30", "Instant noodles", ("라면", "국수", "noodle", "ramen", "instant")),
    ("4001.22", "Technically specified rubber", ("고무", "rubber", "natural", "tsr")),
    ("8708.29", "Parts of motor-vehicle bodies", ("자동차", "부품", "vehicle", "car", "part", "body")),
)
PROPOSED_MAX = 3


def words_found(text, words):
    lower = text.casefold()
    tokens = set(re.findall(r"[a-z]+", lower))
    tokens |= {token[:-1] for token in tokens if token.endswith("s")}
    return [word for word in words if (word in tokens if word.isascii() else word in lower)]


def propose(text):
    """The likeliest headings, best first: what matched and its share of all matches."""
    matches = [(code, title, words_found(text, words)) for code, title, words in HEADINGS]
    matches = [match for match in matches if match[2]]
    total = sum(len(found) for _, _, found in matches)
    matches.sort(key=lambda match: (-len(match[2]), match[0]))
    return [{"code": code, "title": title, "because": found, "score": round(len(found) / total, 3)}
            for code, title, found in matches[:PROPOSED_MAX]]
