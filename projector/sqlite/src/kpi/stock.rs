//! Resources: each turn once, in the order of the log, and the stock of every day on which something turned.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use projector::account::{Group, Turn, TurnKind};
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
    let mut open = Open { transaction, names, stocks: BTreeMap::new(), resources: HashMap::new(), fresh: Vec::new() };
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
    /// Those the chunk met.
    resources: HashMap<[u8; 16], Met>,
    /// Those that no chunk before met, in the order of the log: keys, and what they are called.
    fresh: Vec<([u8; 16], String)>,
}

/// A resource as it was before the chunk, if it was, and as it is now.
struct Met {
    number: i64,
    before: Option<Resource>,
    now: Resource,
    /// The number of its group while it is managed.
    group: i64,
    /// The last entry about it.
    entry: u64,
}

impl Open<'_, '_> {
    fn take(&mut self, turn: &Turn) -> Result<(), ViewError> {
        let key = turn.resource.key();
        if !self.resources.contains_key(&key) {
            let met = self.meet(key, turn)?;
            self.resources.insert(key, met);
        }
        let Some(met) = self.resources.get_mut(&key) else { return Ok(()) };
        met.entry = turn.index;
        if met.now.knows(turn) {
            return Ok(());
        }
        count(&mut self.stocks, met, false);
        met.now.apply(turn);
        if turn.kind == TurnKind::Managed {
            met.group = self.names.group(self.transaction, &turn.group)?;
            if let Entry::Vacant(place) = self.stocks.entry(met.group) {
                place.insert((stock(self.transaction, met.group)?, false));
            }
        }
        count(&mut self.stocks, met, true);
        Ok(())
    }

    fn meet(&mut self, key: [u8; 16], turn: &Turn) -> Result<Met, ViewError> {
        if let Some((number, group, known)) = self.load(&key)? {
            if let Entry::Vacant(place) = self.stocks.entry(group) {
                place.insert((stock(self.transaction, group)?, false));
            }
            return Ok(Met { number, group, now: known.clone(), before: Some(known), entry: turn.index });
        }
        let sql = "SELECT ifnull(max(number), 0) FROM resource_states";
        let stored: i64 = self.transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        self.fresh.push((key, turn.resource.as_str().to_owned()));
        let number = stored + i64::try_from(self.fresh.len()).unwrap_or(i64::MAX);
        Ok(Met { number, before: None, now: Resource::default(), group: 0, entry: turn.index })
    }

    /// Its number, that of its group, and its state.
    fn load(&self, key: &[u8; 16]) -> Result<Option<(i64, i64, Resource)>, ViewError> {
        let mut select = self.transaction.prepare_cached(
            "SELECT managed, watched, checked, owner, environment, class, number, grp FROM resource_numbers \
             CROSS JOIN resource_states USING (number) CROSS JOIN kpi_groups USING (grp) WHERE resource = ?1",
        )?;
        let found = select.query_row([key.as_slice()], |row| {
            let texts: [Option<String>; 3] = [row.get(3)?, row.get(4)?, row.get(5)?];
            Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<u32>>(2)?, texts, (row.get(6)?, row.get(7)?)))
        });
        let Some((managed, watched, checked, [owner, environment, class], (number, grp))) = found.optional()? else {
            return Ok(None);
        };
        let group = Group {
            owner,
            environment: environment.and_then(|name| schemas::ids::Environment::parse(&name).ok()),
            class: class.and_then(|word| schemas::ids::ChangeClass::parse(&word).ok()),
        };
        Ok(Some((number, grp, Resource { managed, watched, checked: checked.map(Day), group })))
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

    /// In the order of their numbers, so that neighbours land on one page.
    fn write_resources(&mut self) -> Result<(), ViewError> {
        let mut met: Vec<Met> = std::mem::take(&mut self.resources).into_values().collect();
        met.sort_unstable_by_key(|met| met.number);
        let transaction = self.transaction;
        let mut insert = transaction.prepare_cached("INSERT INTO resource_states VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
        let mut update = transaction.prepare_cached(
            "UPDATE resource_states SET managed = ?2, watched = ?3, checked = ?4, grp = ?5, entry = ?6 WHERE number = ?1",
        )?;
        // Its columns are under no index.
        let mut mention = transaction.prepare_cached("UPDATE resource_states SET entry = ?2 WHERE number = ?1")?;
        for Met { number, before, now, group, entry } in met {
            if before.as_ref() == Some(&now) {
                mention.execute(params![number, entry])?;
                continue;
            }
            let group = if now.managed { group } else { self.names.group(transaction, &now.group)? };
            let write = if before.is_some() { &mut update } else { &mut insert };
            write.execute(params![number, now.managed, now.watched, now.checked.map(day_number), group, entry])?;
        }
        self.write_fresh()
    }

    fn write_fresh(&mut self) -> Result<(), ViewError> {
        let sql = "SELECT ifnull(max(number), 0) FROM resource_identities";
        let stored: i64 = self.transaction.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
        let mut name = self.transaction.prepare_cached("INSERT INTO resource_identities VALUES (?1, ?2)")?;
        let mut numbers = Vec::with_capacity(self.fresh.len());
        for ((key, identity), number) in std::mem::take(&mut self.fresh).into_iter().zip(stored + 1..) {
            name.execute(params![number, identity])?;
            numbers.push((key, number));
        }
        numbers.sort_unstable();
        let mut find = self.transaction.prepare_cached("INSERT INTO resource_numbers VALUES (?1, ?2)")?;
        for (key, number) in numbers {
            find.execute(params![key.as_slice(), number])?;
        }
        Ok(())
    }
}

/// Takes a resource that is managed into the stock of its group, or out of it.
fn count(stocks: &mut BTreeMap<i64, (Stock, bool)>, met: &Met, comes: bool) {
    if met.now.managed
        && let Some((stock, dirty)) = stocks.get_mut(&met.group)
    {
        stock.count(&met.now, comes);
        *dirty = true;
    }
}

/// The stock of a group as it was last written.
fn stock(transaction: &Transaction<'_>, group: i64) -> Result<Stock, ViewError> {
    let mut select =
        transaction.prepare_cached("SELECT body FROM kpi_stock WHERE grp = ?1 ORDER BY day DESC LIMIT 1")?;
    let body = select.query_row([group], |row| row.get::<_, Vec<u8>>(0)).optional()?;
    let read = |body: Vec<u8>| Stock::decode(&body).ok_or_else(|| damaged("stock", &group.to_string()));
    body.map_or_else(|| Ok(Stock::default()), read)
}
