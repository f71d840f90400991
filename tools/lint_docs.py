# SPDX-License-Identifier: Apache-2.0
"""What the documents name must be there: files in backticks, links, commands and their options. Prints complaints."""
import os
import re
import subprocess
import sys

TOPS = ("src/", "test/", "doc/", "tools/", "example/", "bench/", "include/", "etc/")
MCP = os.environ.get("MCP_BINARY", "build/mcp")
TARGET = re.compile(r"^([a-z][a-z-]*(?: [a-z][a-z-]*)*):", re.M)


def commands():
    out = subprocess.run([MCP, "--help"], capture_output=True, text=True, check=True).stdout
    names = set(re.findall(r"^  ([a-z]+(?: [a-z]+)*)  ", out, re.M)) | {"host", "role", "shim"}
    return {n: set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", subprocess.run(
        [MCP, "help", *n.split()], capture_output=True, text=True).stdout)) for n in names}


def check_path(doc, line, path):
    path = re.sub(r":\d+$", "", path)
    if re.search(r"[*<>…$]|\.\.\.|NAME", path):  # a pattern, not a path
        return
    here = os.path.join(os.path.dirname(doc), path)
    if not os.path.exists(path) and not os.path.exists(here) and not is_made(path):
        print(f"{doc}:{line}: {path} is not there")


def is_made(path):
    """What a build or a run makes is not in git, and git knows that."""
    return subprocess.run(["git", "check-ignore", path, path + "/"], capture_output=True, check=False).returncode == 0


def check_command(doc, line, text, known):
    words = text.split()
    names = [n for n in (" ".join(words[1:3]), words[1] if len(words) > 1 else "") if n in known]
    if len(words) < 2 or words[1].startswith("-") or words[1].isupper() or words[1] in ("help", "…"):
        return
    if not names:
        if not any(n.startswith(words[1] + " ") for n in known) or len(words) > 2 and re.match("[a-z]", words[2]):
            print(f"{doc}:{line}: no command `{text}`")
        return
    for word in words:
        if word == "--":
            break
        option = re.match(r"\[?(--?[a-z][a-z-]*)", word)
        if option and option[1] not in known[names[0]]:
            print(f"{doc}:{line}: `mcp {names[0]}` has no {option[1]}")


def check_make(doc, line, text, targets):
    name = text.split()[1]
    if re.fullmatch(r"[a-z-]+", name) and name not in targets and not name.startswith("bench-"):
        print(f"{doc}:{line}: no target `{text}`")


def main():
    known = commands()
    targets = {w for m in TARGET.findall(open("Makefile").read()) for w in m.split()}
    docs = subprocess.run(["git", "ls-files", "*.md"], capture_output=True, text=True, check=True).stdout.split()
    for doc in docs:
        fenced = False
        for number, line in enumerate(open(doc), 1):
            if line.startswith("```"):
                fenced = not fenced
                continue
            for target in re.findall(r"\]\(([^)#:]+)[^)]*\)", line):
                check_path(doc, number, target)
            spans = re.findall(r"`([^`]+)`", line)
            if fenced:
                spans = [re.sub(r"^[#$] ", "", line).strip()] if re.match(r"([#$] )?(mcp|make) ", line) else []
            for span in spans:
                if span.startswith("mcp "):
                    check_command(doc, number, re.split(r"[|;#&]", span)[0].strip(), known)
                elif span.startswith("make ") and not fenced:
                    check_make(doc, number, span, targets)
                elif span.startswith(TOPS):
                    check_path(doc, number, span.split()[0])


if __name__ == "__main__":
    if not os.path.exists(MCP):
        sys.exit(f"{MCP} is not built")
    main()
