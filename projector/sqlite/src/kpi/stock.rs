//! Resources: each turn once, in the order of the log, and the stock of every day on which something turned.

use std::collections::BTreeMap;
use std::ops::Range;

use projector::account::{Group, Turn};
use projector::kpi::Day;
use projector::kpi::drift::{Resource, Stock};
use rusqlite::{OptionalExtension, Transaction, params};

use super::{Names, Touched, damaged, day_number};
use crate::error::ViewError;

/// Takes the turns of the chunk's entries, and gives the day of the first.
pub(super) fn apply(
    transaction: &Transaction<'_>,
    names: &mut Names,
    chunk: &Range<u64>,
    touched: &[Touched<'_>],
    due: &[Turn],
) -> Result<Option<Day>, ViewError> {
    for one in touched {
        super::ahead::put_turns(transaction, one, chunk.end)?;
    }
    let turns = touched.iter().flat_map(|one| &one.account.turns);
    let mut turns: Vec<&Turn> = turns.filter(|turn| chunk.contains(&turn.index)).chain(due).collect();
    // Stable: within one entry the order of its account.
    turns.sort_by_key(|turn| turn.index);
    let first = turns.first().map(|turn| Day::of(turn.at));
    let mut open = Open { transaction, names, stocks: BTreeMap::new(), resources: BTreeMap::new() };
    let mut today = None;
    for turn in turns {
        let day = Day::of(turn.at);
        if let Some(before) = today.replace(day).filter(|before| *before < day) {
            open.close(before)?;
        }
        open.take(turn)?;
    }
    today.map_or(Ok(()), |day| open.close(day))?;
    open.write_resources()?;
    Ok(first)
}

struct Open<'a, 't> {
    transaction: &'a Transaction<'t>,
    names: &'a mut Names,
    /// By group; true where it is not written yet.
    stocks: BTreeMap<i64, (Stock, bool)>,
    /// Those the chunk met: what is known of each, what it is called, and the last entry about it.
    resources: BTreeMap<[u8; 16], (Resource, String, u64)>,
}

impl Open<'_, '_> {
    fn take(&mut self, turn: &Turn) -> Result<(), ViewError> {
        let key = turn.resource.key();
        if !self.resources.contains_key(&key) {
            let known = self.load(&key)?.unwrap_or_default();
            self.resources.insert(key, (known, turn.resource.as_str().to_owned(), turn.index));
        }
        let Some((resource, _, entry)) = self.resources.get_mut(&key) else { return Ok(()) };
        *entry = turn.index;
        if resource.knows(turn) {
            return Ok(());
        }
        let before = resource.clone();
        resource.apply(turn);
        let now = resource.clone();
        self.count(&before, false)?;
        self.count(&now, true)
    }

    fn count(&mut self, resource: &Resource, comes: bool) -> Result<(), ViewError> {
        if !resource.managed {
            return Ok(());
        }
        let group = self.names.group(self.transaction, &resource.group)?;
        if !self.stocks.contains_key(&group) {
            self.stocks.insert(group, (self.stock(group)?, false));
        }
        if let Some((stock, dirty)) = self.stocks.get_mut(&group) {
            stock.count(resource, comes);
            *dirty = true;
        }
        Ok(())
    }

    fn load(&self, key: &[u8; 16]) -> Result<Option<Resource>, ViewError> {
        let mut select = self.transaction.prepare_cached(
            "SELECT managed, watched, checked, owner, environment, class FROM resource_states JOIN kpi_groups USING (grp) \
             WHERE resource = ?1",
        )?;
        let found = select.query_row([key.as_slice()], |row| {
            let texts: [Option<String>; 3] = [row.get(3)?, row.get(4)?, row.get(5)?];
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<u32>>(2)?, texts))
        });
        let Some((managed, watched, checked, [owner, environment, class])) = found.optional()? else { return Ok(None) };
        let group = Group {
            owner,
            environment: environment.and_then(|name| schemas::ids::Environment::parse(&name).ok()),
            class: class.and_then(|word| schemas::ids::ChangeClass::parse(&word).ok()),
        };
        Ok(Some(Resource { managed, watched, checked: checked.map(Day), group }))
    }

    /// The stock of a group as it was last written.
    fn stock(&self, group: i64) -> Result<Stock, ViewError> {
        let mut select =
            self.transaction.prepare_cached("SELECT body FROM kpi_stock WHERE grp = ?1 ORDER BY day DESC LIMIT 1")?;
        let body = select.query_row([group], |row| row.get::<_, Vec<u8>>(0)).optional()?;
        let read = |body: Vec<u8>| Stock::decode(&body).ok_or_else(|| damaged("stock", &group.to_string()));
        body.map_or_else(|| Ok(Stock::default()), read)
    }

    /// Writes what changed on a day.
    fn close(&mut self, day: Day) -> Result<(), ViewError> {
        let mut upsert = self.transaction.prepare_cached(
            "INSERT INTO kpi_stock VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = excluded.body",
        )?;
        for (group, (stock, dirty)) in self.stocks.iter_mut().filter(|(_, (_, dirty))| *dirty) {
            upsert.execute(params![group, day_number(day), stock.encode()])?;
            *dirty = false;
        }
        Ok(())
    }

    /// In the order of their keys, so that neighbours land on one page.
    fn write_resources(mut self) -> Result<(), ViewError> {
        let mut upsert = self.transaction.prepare_cached(
            "INSERT INTO resource_states VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO UPDATE SET managed = excluded.managed, \
             watched = excluded.watched, checked = excluded.checked, grp = excluded.grp, entry = excluded.entry",
        )?;
        for (key, (resource, identity, entry)) in std::mem::take(&mut self.resources) {
            let group = self.names.group(self.transaction, &resource.group)?;
            let checked = resource.checked.map(day_number);
            upsert.execute(params![
                key.as_slice(),
                identity,
                resource.managed,
                resource.watched,
                checked,
                group,
                entry
            ])?;
        }
        Ok(())
    }
}
