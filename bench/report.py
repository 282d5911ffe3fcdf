"""Figures: a value, its target, whether it was met. A missed target is shown as missed, never left out."""

import json


def percentile(values, share):
    """The value below which `share` of the values lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered) + 0.5) - 1))]


class Report:
    def __init__(self):
        self.figures = []

    def add(self, figure, value, unit, target=None, against=None, least=None):
        """`target` is the highest value that is good, `least` the lowest; None where there is no such limit."""
        met = None
        if target is not None or least is not None:
            met = (target is None or value <= target) and (least is None or value >= least)
        value = round(value, 4) if isinstance(value, float) else value
        self.figures.append(
            {"figure": figure, "value": value, "unit": unit, "target": target, "least": least, "met": met, "against": against}
        )
        print(f"  {figure}: {value} {unit}", flush=True)

    def show(self, out):
        width = max((len(figure["figure"]) for figure in self.figures), default=0)
        print("", file=out)
        for row in self.figures:
            met = {True: "met", False: "MISSED", None: ""}[row["met"]]
            limits = [f"≤ {row['target']}"] if row["target"] is not None else []
            limits += [f"≥ {row['least']}"] if row["least"] is not None else []
            against = f"  ({row['against']})" if row["against"] else ""
            print(f"{row['figure']:<{width}}  {row['value']:>10} {row['unit']:<6} {' '.join(limits):>8} {met:<6}{against}", file=out)

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            for row in self.figures:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
