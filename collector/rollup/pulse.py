"""Pulses, folded into minutes of verdicts."""

from __future__ import annotations

from collector.rollup.statement import Connection

PULSES_A_ROUND = 20_000


async def fold_pulses(connection: Connection) -> None:
    """Add pulses that are not folded yet to their minutes."""
    await connection.execute(
        # each pulse once: the flag and the sum change in one statement
        """
        WITH taken AS (
            UPDATE pulses SET folded = true
            WHERE id IN (SELECT id FROM pulses WHERE NOT folded ORDER BY id LIMIT %s)
            RETURNING second, stream_id, good, bad
        )
        INSERT INTO slo_minute (minute, stream_id, good, bad)
        SELECT date_trunc('minute', second, 'UTC'), stream_id, sum(good), sum(bad) FROM taken GROUP BY 1, 2
        ON CONFLICT (minute, stream_id) DO UPDATE
        SET good = slo_minute.good + excluded.good, bad = slo_minute.bad + excluded.bad
        """,
        (PULSES_A_ROUND,),
    )
