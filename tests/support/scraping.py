"""What a service tells Prometheus."""

import httpx
from prometheus_client.parser import text_string_to_metric_families


async def scraped(client: httpx.AsyncClient) -> dict[str, float]:
    """Every sample of /metrics by its name, with its labels in the order of their names: `holds{state="open"}`."""
    answer = await client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            found[sample.name + (f"{{{labels}}}" if labels else "")] = sample.value
    return found
