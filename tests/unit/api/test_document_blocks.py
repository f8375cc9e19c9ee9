"""Programs that lost their marks or their indentation in a document are found and mended."""

from tests.integration.api.documents import bare, fenced, numbered

PYTHON = """\
To ask for a film:
1import films
2# Until it is there
3def film(name):
4while True:
5shown = films.get(
6name,
7)
8
9if shown.ready:
10return shown
11else:
12films.wait(10)
13
14print(film('a'))
The next section.
1{
2 "error": "no film"
3}
"""
MENDED = """\
import films
# Until it is there
def film(name):
    while True:
        shown = films.get(
        name,
        )

        if shown.ready:
            return shown
        else:
            films.wait(10)

print(film('a'))
"""
NODE = """\
Make a film
const response = await films . make ({
name: 'it\\'s (one)' , // a name, and a bracket (
size: { width: 1 }
});
console . log ( response . url );
Sizes
Any size is made.
{
name : 'two'
}
const response = await films . make ({ name: 'three' });
"""


def test_numbered_lines_are_programs_and_python_is_indented() -> None:
    program, error = numbered(PYTHON)

    assert (program.language, program.code) == ("python", MENDED)
    compile(program.code, "mended", "exec")
    assert (error.language, error.code) == ("json", '{\n"error": "no film"\n}\n')


def test_programs_among_sentences_are_found_by_their_brackets() -> None:
    first, data, last = bare(NODE)

    assert first.language == last.language == "node"
    assert first.code.splitlines()[0].startswith("const response")
    assert first.code.splitlines()[-1] == "console . log ( response . url );"
    assert (data.language, data.code) == ("object", "{\nname : 'two'\n}\n")
    assert last.code == "const response = await films . make ({ name: 'three' });\n"


def test_fences_say_their_language() -> None:
    blocks = fenced("A\n```bash theme={null}\ncurl a\n```\n```\nGET /\n```\n")

    assert [(block.language, block.code) for block in blocks] == [
        ("shell", "curl a\n"),
        ("text", "GET /\n"),
    ]
