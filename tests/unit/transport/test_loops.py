import asyncio

from transport.loops import PerLoop


def test_each_loop_has_a_value_of_its_own_until_it_forgets_it() -> None:
    values: PerLoop[object] = PerLoop(object)

    async def twice() -> tuple[object, object]:
        return values.here(), values.here()

    async def forgotten_and_new() -> tuple[object, object | None, object]:
        return values.here(), values.forget(), values.here()

    # Given two loops, of which neither has let go of its value
    first, second = asyncio.run(twice()), asyncio.run(twice())

    # Then each got one, and always the same
    assert first[0] is first[1]
    assert second[0] is second[1]
    assert first[0] is not second[0]

    # And a forgotten one is made anew
    old, forgotten, new = asyncio.run(forgotten_and_new())
    assert old is forgotten
    assert new is not old
