"""What a scrape holds, read by Prometheus' own parser for Python."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families


class Scraped:
    """The figures of one scrape in the text format, by name and labels."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}
        self._values: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
        for family in self.families.values():
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in self._values, f"{key} is there twice"
                self._values[key] = sample.value

    def __call__(self, name: str, **labels: str) -> float:
        """The figure ``outrider_NAME`` with exactly these labels."""
        return self._values[f"outrider_{name}", frozenset(labels.items())]

    def names(self) -> set[str]:
        """Of all figures."""
        return {name for name, _ in self._values}

    def labels(self, name: str) -> list[dict[str, str]]:
        """Of all figures ``outrider_NAME``."""
        return [dict(labels) for full, labels in self._values if full == f"outrider_{name}"]
