"""`python -m tests.observe.dashboards`: writes the dashboards' JSON, which Grafana is given."""

import json
from itertools import count
from pathlib import Path
from string import ascii_uppercase
from typing import Final

from grafana_foundation_sdk.builders import common, dashboard, prometheus, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import LegendDisplayMode, LegendPlacement
from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

from tests.observe.panels import BOARDS, Board, Panel

ROOT: Final = Path(__file__).resolve().parents[2]
FOLDER: Final = ROOT / "observe/grafana/dashboards"
#: As observe/grafana/provisioning/datasources names it.
SOURCE: Final = "longtake-prometheus"
#: Of Grafana's grid: 24 columns.
_HEIGHT, _WIDTH, _COLUMNS = 8, 12, 24


def text(board: Board) -> str:
    """A dashboard's JSON."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .tags(["longtake"])
        .editable()
        .refresh("15s")
        .time("now-1h", "now")
        .timezone("browser")
    )
    ids, y = count(1), 0
    for title, panels in board.rows:
        made.with_row(
            dashboard.Row(title).id(next(ids)).grid_pos(GridPos(h=1, w=_COLUMNS, x=0, y=y))
        )
        y += 1
        for number, panel in enumerate(panels):
            x = number * _WIDTH % _COLUMNS
            graph = _graph(panel).id(next(ids))
            made.with_panel(graph.grid_pos(GridPos(h=_HEIGHT, w=_WIDTH, x=x, y=y)))
            y += _HEIGHT if x + _WIDTH == _COLUMNS or number == len(panels) - 1 else 0
    return json.dumps(made.build(), cls=JSONEncoder, indent=1, sort_keys=True) + "\n"


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .title(panel.title)
        .description(panel.explained)
        .unit(panel.unit)
        .min(0)
        .datasource(DataSourceRef(type_val="prometheus", uid=SOURCE))
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)  # noqa: FBT003 - its only argument
        )
    )
    for letter, (query, legend) in zip(ascii_uppercase, panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query).legend_format(legend).ref_id(letter)
        graph.with_target(target)
    return graph


def main() -> None:
    """Write all dashboards."""
    for board in BOARDS:
        (FOLDER / f"{board.uid}.json").write_text(text(board))


if __name__ == "__main__":
    main()
