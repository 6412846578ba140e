//! Pages of managed resources: those that count against drift coverage by the day they were last compared, all of them in the order in which the log met them.

use projector::kpi::scratch::Filter;
use projector::kpi::{Day, Window};
use rusqlite::{Connection, params};

use super::day_number;
use super::query::{Counted, CountedKey, SCANNED_MAX, Side, change, passes};
use crate::error::ViewError;

const COLUMNS: &str = "SELECT changes.change, changes.first_index, checked, identity, g.owner, g.environment, g.class, watched, m.number \
    FROM resource_states m";

const JOINED: &str = "CROSS JOIN resource_identities USING (number) CROSS JOIN kpi_groups g ON g.grp = m.grp CROSS JOIN event_rows ON event_rows.entry = m.entry \
    CROSS JOIN change_rows changes ON changes.first_index = event_rows.first_index";

/// Up to `limit` resources as of the last entry, from behind `after`; covered is what is watched or was compared since the window began.
pub(super) fn page(
    connection: &Connection,
    window: Window,
    filter: &Filter,
    side: Side,
    after: Option<CountedKey>,
    limit: usize,
) -> Result<(Vec<Counted>, Option<CountedKey>), ViewError> {
    let from = day_number(window.from);
    let sql = match side {
        Side::Against => format!(
            "{COLUMNS} INDEXED BY unwatched_resources {JOINED} WHERE managed AND NOT watched AND ifnull(checked, -1) < ?1 \
             AND ifnull(checked, -1) >= ?2 AND (ifnull(checked, -1) > ?2 OR m.number > ?3) ORDER BY ifnull(checked, -1), m.number"
        ),
        _ => format!(
            "{COLUMNS} NOT INDEXED {JOINED} WHERE managed AND ?1 IS NOT NULL AND ?2 IS NOT NULL AND m.number > ?3 ORDER BY m.number"
        ),
    };
    let mut select = connection.prepare_cached(&sql)?;
    let CountedKey(day, number) = after.unwrap_or(CountedKey(-1, 0));
    let mut rows = select.query(params![from, day, i64::try_from(number).unwrap_or(i64::MAX)])?;
    let (mut counted, mut scanned, mut behind) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        if counted.len() >= limit || scanned >= SCANNED_MAX {
            return Ok((counted, behind));
        }
        scanned += 1;
        let (checked, watched): (Option<u32>, bool) = (row.get(2)?, row.get(7)?);
        let day = if side == Side::Against { checked.map_or(-1, i64::from) } else { 0 };
        behind = Some(CountedKey(day, row.get(8)?));
        let covered = watched || checked.is_some_and(|day| Day(day) >= window.from);
        let wanted = side == Side::All || covered == (side == Side::For);
        if wanted && passes(row, 4, filter)? {
            counted.push(Counted {
                change: change(row, 0)?,
                first_index: row.get(1)?,
                day: checked.map(Day),
                total: [covered.into(), 1, 0],
                against: !covered,
                resource: row.get(3)?,
            });
        }
    }
    Ok((counted, None))
}
