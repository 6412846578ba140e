//! What may be asked, what may not, and what stops.

use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::types::Value;
use tempfile::TempDir;

use super::*;
use crate::Views;
use crate::tests::{Log, path, projected};

/// An answer as `SQLite` holds it.
#[derive(Default)]
struct Kept {
    names: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Sink for Kept {
    type Error = ();

    fn columns(&mut self, names: &[&str], _: AsOf) -> Result<(), ()> {
        self.names = names.iter().map(|name| (*name).to_owned()).collect();
        Ok(())
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), ()> {
        self.rows.push(values.iter().map(|value| (*value).try_into().unwrap()).collect());
        Ok(())
    }
}

const LIMITS: AnswerLimits = AnswerLimits { rows: 1_000, bytes: 1 << 20 };

fn views() -> TempDir {
    projected(&Log::new(20), 1_000).0
}

fn asked(dir: &TempDir, sql: &str, go_on: impl FnMut() -> bool + Send + 'static) -> Result<Kept, AskError<()>> {
    let question = Question { sql: sql.to_owned(), params: [("n".to_owned(), Param::Integer(7))].into() };
    let mut kept = Kept::default();
    ask(&path(dir), &question, LIMITS, go_on, &mut kept)?;
    Ok(kept)
}

fn answer(dir: &TempDir, sql: &str) -> Result<Kept, AskError<()>> {
    asked(dir, sql, || true)
}

#[test]
fn questions_are_answered() {
    let dir = views();
    let kept = answer(&dir, "SELECT change, state FROM changes WHERE first_entry = 0").unwrap();
    assert_eq!(kept.names, ["change", "state"]);
    assert_eq!(kept.rows, [[Value::Text("c0".into()), Value::Text("closed".into())]]);
    for sql in [
        "SELECT count(*) FROM events",
        "WITH t AS (SELECT 1 AS a) SELECT count(*) FROM t;",
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t WHERE x < 10) SELECT sum(x) FROM t",
        "SELECT value FROM json_each('[1, 2]')",
        "SELECT :n, @n, $n",
        "VALUES (1), (2)",
        "EXPLAIN QUERY PLAN SELECT * FROM steps",
        "SELECT name FROM sqlite_schema",
        "SELECT count(*) FROM event_rows -- as they are stored",
        "/* a comment */ SELECT 1 /* and another */ ; ",
    ] {
        assert!(answer(&dir, sql).is_ok(), "{sql}: {:?}", answer(&dir, sql).err());
    }
}

#[test]
fn nothing_but_reading_compiles() {
    let dir = views();
    let other = dir.path().join("other.db");
    drop(Views::open(&other).unwrap());
    let before = std::fs::read(path(&dir)).unwrap();
    let attach = format!("ATTACH '{}' AS other", other.display());
    let vacuum = format!("VACUUM INTO '{}'", dir.path().join("copy.db").display());
    for sql in [
        &attach,
        &vacuum,
        "DETACH main",
        "DELETE FROM event_rows",
        "DELETE FROM events",
        "UPDATE change_rows SET state = 'x'",
        "INSERT INTO cursors VALUES ('x', 0)",
        "INSERT INTO cursors VALUES ('x', 0) RETURNING 1",
        "REPLACE INTO cursors VALUES ('core', 0)",
        "WITH t AS (SELECT 1) DELETE FROM cursors",
        "CREATE TABLE t (a)",
        "CREATE TEMP TABLE t AS SELECT 1",
        "CREATE TEMP VIEW t AS SELECT 1",
        "CREATE VIRTUAL TABLE t USING fts5(a)",
        "CREATE TRIGGER t AFTER INSERT ON cursors BEGIN SELECT 1; END",
        "DROP TABLE cursors",
        "ALTER TABLE cursors RENAME TO c",
        "REINDEX",
        "ANALYZE",
        "VACUUM",
        "PRAGMA user_version",
        "PRAGMA user_version = 9",
        "PRAGMA query_only = off",
        "PRAGMA writable_schema = on",
        "PRAGMA temp_store_directory = '/tmp'",
        "SELECT * FROM pragma_user_version",
        "SELECT count(*) FROM pragma_database_list",
        "SELECT * FROM dbstat",
        "SELECT * FROM sqlite_dbpage",
        "BEGIN",
        "COMMIT",
        "SAVEPOINT s",
        "SELECT load_extension('x')",
        "SELECT fts3_tokenizer('x')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('x', 'y')",
        "SELECT 1; DELETE FROM cursors",
        "SELECT 1; SELECT 2",
        "",
        "-- nothing",
        ";",
    ] {
        let told = answer(&dir, sql);
        assert!(told.is_err(), "{sql}");
        assert!(!matches!(told, Err(AskError::Stopped | AskError::Views(_))), "{sql}: {:?}", told.err());
    }
    assert_eq!(std::fs::read(path(&dir)).unwrap(), before);
    assert!(!dir.path().join("copy.db").exists());
    assert!(answer(&dir, "SELECT count(*) FROM events").is_ok());
}

#[test]
fn refusals_say_what_is_wrong() {
    let dir = views();
    let check = |sql: &str, expect: &str| {
        let told = answer(&dir, sql).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains(expect), "{sql}: {told}");
    };
    check("ATTACH 'x.db' AS x", "another file");
    check("DELETE FROM cursors", "it writes");
    check("PRAGMA cache_size", "PRAGMA cache_size");
    check("SELECT load_extension('x')", "load_extension");
    check("SELEC 1", "syntax error");
    check("SELECT nosuchcolumn FROM changes", "no such column");
    check("SELECT \"state\", \"nosuch\" FROM changes", "nosuch");
    check("SELECT 1; SELECT 2", "one statement");
    check("SELECT :who", ":who has no value");
    check("SELECT ?", "need a name");
    check("", "no question");
    check("VACUUM", "it writes");
    check("VACUUM INTO 'copy.db'", "it writes");
    check("SELECT 1\0, 2", "NUL character at byte 8");
    check("SELECT * FROM nosuch", "no such table: nosuch: there are anomalies, approvals, attempts, changes");
    check("SELECT * FROM nosuch", "upm sql --schema");
    check(&format!("SELECT {}", "1,".repeat(60_000)), "at most 100000");
}

#[test]
fn what_would_fill_the_memory_is_an_error() {
    let dir = views();
    for sql in [
        "SELECT randomblob(1000000000)",
        "SELECT zeroblob(2000000000)",
        "SELECT length(zeroblob(1000001))",
        "SELECT printf('%*d', 2000000000, 1)",
        "SELECT printf('%.*c', 1000000000, 'x')",
        "SELECT hex(zeroblob(900000))",
        "SELECT replace(hex(zeroblob(400000)), '0', 'xxxx')",
        "WITH RECURSIVE t(x) AS (SELECT 'x' UNION ALL SELECT x || x FROM t) SELECT max(length(x)) FROM t",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t LIMIT 100000) SELECT group_concat(hex(zeroblob(100))) FROM t",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t LIMIT 100000) SELECT json_group_array(hex(zeroblob(100))) FROM t",
    ] {
        let told = answer(&dir, sql);
        let held = matches!(told, Err(AskError::Value | AskError::Sql(_)));
        assert!(held, "{sql}: {:?} {:?}", told.as_ref().map(|kept| kept.rows.len()).ok(), told.as_ref().err());
    }
    let many = "x LIKE ".to_owned() + &format!("'{}'", "%a".repeat(1_000));
    assert!(answer(&dir, &format!("SELECT {many} FROM (SELECT 'a' AS x)")).is_err());
    let deep = format!("SELECT 1{}", " + 1".repeat(500));
    assert!(answer(&dir, &deep).is_err());
    let wide = vec!["SELECT 1"; 100].join(" UNION ALL ");
    assert!(answer(&dir, &wide).is_err());
}

#[test]
fn what_never_ends_is_stopped() {
    let dir = views();
    for sql in [
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT count(*) FROM t",
        "SELECT count(*) FROM events a, events b, events c, events d, events e, events f, events g",
        "WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t) SELECT x FROM t ORDER BY x DESC",
    ] {
        let looks = AtomicU32::new(0);
        let told = asked(&dir, sql, move || looks.fetch_add(1, Ordering::Relaxed) < 20);
        assert!(matches!(told, Err(AskError::Stopped)), "{sql}: {:?}", told.err());
    }
}

#[test]
fn an_answer_has_bounds() {
    let dir = views();
    let numbers = |most: u32| {
        format!("WITH RECURSIVE t(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM t LIMIT {most}) SELECT x FROM t")
    };
    assert_eq!(answer(&dir, &numbers(1_000)).unwrap().rows.len(), 1_000);
    assert!(matches!(answer(&dir, &numbers(1_001)), Err(AskError::Rows(1_000))));
    let wide = "SELECT hex(zeroblob(300000)) FROM changes LIMIT 10";
    assert!(matches!(answer(&dir, wide), Err(AskError::Bytes(_))));
}

#[test]
fn parameters_read_as_they_are_written() {
    for (text, expect) in [
        ("5", Param::Integer(5)),
        ("-5", Param::Integer(-5)),
        ("1.5", Param::Real(1.5)),
        ("1e3", Param::Real(1000.0)),
        ("nan", Param::Text("nan".into())),
        ("inf", Param::Text("inf".into())),
        ("", Param::Text(String::new())),
        ("CHG-1", Param::Text("CHG-1".into())),
        ("0", Param::Integer(0)),
        ("0.5", Param::Real(0.5)),
        ("0042", Param::Text("0042".into())),
        ("-042", Param::Text("-042".into())),
        ("+5", Param::Text("+5".into())),
        (".5", Param::Text(".5".into())),
        ("9223372036854775807", Param::Integer(i64::MAX)),
        ("9223372036854775808", Param::Text("9223372036854775808".into())),
    ] {
        assert_eq!(Param::parse(text), expect, "{text}");
    }
    assert_eq!(Param::number("0042"), Some(Param::Integer(42)), "where it is said to be a number");
    for text in ["", "-", "x", "nan", "inf", "1e999", "9223372036854775808", " 1", "+1"] {
        assert_eq!(Param::number(text), None, "{text}");
    }
}

#[test]
fn every_documented_table_can_be_read_and_says_what_it_is() {
    let dir = views();
    let documented = tables();
    assert_eq!(documented.len(), 17, "{documented:?}");
    for table in documented {
        let kept = answer(&dir, &format!("SELECT * FROM {table}")).unwrap();
        assert!(crate::TABLES.contains(&format!("CREATE VIEW {table} AS")), "{table}");
        assert!(kept.names.len() > 4, "{table}");
        assert!(
            ["rejections", "kpi_daily", "maturity_daily"].contains(&table)
                || kept.names.contains(&"first_entry".to_owned()),
            "{table}"
        );
    }
}
