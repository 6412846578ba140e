//! Catalogue files, read and checked: each complaint names the file, the entry, the field, what was found and what was expected.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::template::Raw;
use super::{Absent, Catalogue, Cost, Exists, Field, Form, Quota, Role, SHIPPED, Template, Tool, Type, Update, When};
use crate::execute::tls::Fallback;
use crate::table::{self, Entry, Read, complaint, shown};

/// Reads the files in order.
pub(super) fn files(files: &[(&str, &str)]) -> Read<Catalogue> {
    let mut read =
        Catalogue { tools: BTreeMap::new(), roles: BTreeMap::new(), types: BTreeMap::new(), digest: String::new() };
    let mut defaults = Vec::new();
    for (file, text) in files {
        let table = table::parse(file, text)?;
        let whole = Entry::whole(file, &table);
        whole.only(&["tools", "roles", "types", "defaults"])?;
        for (name, entry) in whole.entries("tools", "tool")? {
            let mut tool = tool(&name, &entry)?;
            if let Some(earlier) = read.tools.get(&name) {
                tool.keep_refusals(earlier);
            }
            entry.put(&mut read.tools, name, tool)?;
        }
        for (name, entry) in whole.entries("roles", "role")? {
            let role = role(&entry)?;
            entry.put(&mut read.roles, name, role)?;
        }
        for (name, entry) in whole.entries("types", "type")? {
            let kind = kind(&name, &entry)?;
            entry.put(&mut read.types, name, kind)?;
        }
        for (name, entry) in whole.entries("defaults", "defaults of")? {
            defaults.push(((*file).to_owned(), name, entry.table.clone()));
        }
    }
    for (file, name, table) in &defaults {
        give_defaults(&mut read, file, name, table)?;
    }
    check(&read)?;
    Ok(read)
}

impl Entry<'_> {
    /// Adds to what was read. What is there already is only replaced on purpose.
    fn put<T>(&self, into: &mut BTreeMap<String, T>, name: String, value: T) -> Read<()> {
        let replaces = self.flag("replaces")?;
        match (into.contains_key(&name), replaces) {
            (true, false) => self.wrong("name", "a second definition", "a new name, or `replaces = true`"),
            (false, true) => {
                self.wrong("replaces", "true, with nothing to replace", "a name that an earlier file defines")
            }
            _ => {
                into.insert(name, value);
                Ok(())
            }
        }
    }

    fn command(&self, key: &str) -> Read<Option<Template>> {
        let Some(value) = self.table.get(key) else { return Ok(None) };
        let expected = "a list of words, and of lists of words that belong together";
        let Value::Array(items) = value else { return self.wrong(key, shown(value), expected) };
        let mut raw = Vec::new();
        for (at, item) in items.iter().enumerate() {
            raw.push(match item {
                Value::String(text) => Raw::Word(text),
                Value::Array(group) => {
                    let words: Vec<&str> = group.iter().filter_map(Value::as_str).collect();
                    if words.len() != group.len() || words.is_empty() {
                        return self.wrong(&format!("{key}[{at}]"), shown(item), "a list of words");
                    }
                    Raw::Group(words)
                }
                other => return self.wrong(&format!("{key}[{at}]"), shown(other), expected),
            });
        }
        Template::parse(&raw).map(Some).or_else(|(found, expected)| self.wrong(key, found, expected))
    }

    fn needed_command(&self, key: &str) -> Read<Template> {
        match self.command(key)? {
            Some(command) => Ok(command),
            None => self.wrong(key, "nothing", "a command as a list of words"),
        }
    }

    /// Pairs of texts: what, and why.
    fn reasons(&self, key: &str) -> Read<Vec<(String, String)>> {
        let Some(inner) = self.inner(key)? else { return Ok(Vec::new()) };
        inner.table.keys().map(|what| Ok((what.clone(), inner.needed_text(what)?))).collect()
    }
}

/// Shells, interpreters and what starts other programs, without their versions.
const RUNNERS: [&str; 34] = [
    "ash", "awk", "bash", "busybox", "csh", "dash", "doas", "env", "find", "fish", "gawk", "ksh", "lua", "make",
    "mawk", "nc", "nice", "node", "nohup", "parallel", "perl", "php", "pwsh", "python", "ruby", "setsid", "sh", "ssh",
    "su", "sudo", "tclsh", "timeout", "xargs", "zsh",
];

/// A program's name without the version at its end: `jq-1.7` is `jq`.
fn unversioned(program: &str) -> &str {
    program.trim_end_matches(|c: char| c.is_ascii_digit() || "._-".contains(c))
}

fn tool(name: &str, entry: &Entry<'_>) -> Read<Tool> {
    entry.only(&[
        "program",
        "version",
        "version_check",
        "sha256",
        "subcommands",
        "refused_options",
        "refused_values",
        "tls_fallback",
        "replaces",
    ])?;
    let program = entry.needed_text("program")?;
    if !crate::argv::is_program(&program) {
        return entry.wrong(
            "program",
            format!("{program:?}"),
            "a program's name: letters, digits, dots, dashes and underlines, no path",
        );
    }
    if RUNNERS.contains(&unversioned(&program)) {
        let expected = "a tool that runs no other program and no program text: what it would run, nobody could judge";
        return entry.wrong("program", format!("{program:?}"), expected);
    }
    let version = entry.needed_text("version")?;
    if !version.starts_with(|c: char| c.is_ascii_digit()) || version.contains(char::is_whitespace) {
        return entry.wrong("version", format!("{version:?}"), "a version to pin, such as 1.29");
    }
    let sha256 = entry.text("sha256")?;
    if let Some(found) = sha256
        .as_ref()
        .filter(|text| text.len() != 64 || !text.chars().all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)))
    {
        return entry.wrong("sha256", format!("{found:?}"), "64 hexadecimal digits in lower case");
    }
    Ok(Tool {
        name: name.to_owned(),
        file: entry.file.to_owned(),
        program,
        version,
        version_check: entry.texts("version_check")?,
        sha256,
        subcommands: entry.names("subcommands")?.unwrap_or_default(),
        refused_options: entry.reasons("refused_options")?,
        refused_values: entry.reasons("refused_values")?,
        tls_fallback: entry.inner("tls_fallback")?.map(|entry| tls_fallback(&entry)).transpose()?,
    })
}

fn tls_fallback(entry: &Entry<'_>) -> Read<Fallback> {
    entry.only(&["says", "options", "environment"])?;
    let (says, options) = (entry.texts("says")?, entry.texts("options")?);
    if says.is_empty() || says.iter().any(|text| text.trim().is_empty()) {
        return entry.wrong("says", "nothing, or an empty text", "what the tool says when a certificate is not good");
    }
    if let Some(found) = options.iter().find(|option| !option.starts_with('-') || option.len() < 2) {
        return entry.wrong("options", format!("{found:?}"), "options, each with its dash");
    }
    let mut environment = BTreeMap::new();
    if let Some(inner) = entry.inner("environment")? {
        for name in inner.table.keys() {
            if !crate::execute::environment::may_be_named(name) {
                return inner.wrong(name, format!("{name:?}"), crate::execute::environment::EXPECTED);
            }
            environment.insert(name.clone(), inner.text(name)?.unwrap_or_default());
        }
    }
    if options.is_empty() && environment.is_empty() {
        return entry.wrong("options", "neither options nor environment", "one of them");
    }
    Ok(Fallback { says, options, environment })
}

fn role(entry: &Entry<'_>) -> Read<Role> {
    entry.only(&["title", "check", "how", "replaces"])?;
    Ok(Role {
        file: entry.file.to_owned(),
        title: entry.needed_text("title")?,
        check: entry.needed_command("check")?,
        how: entry.needed_text("how")?,
    })
}

const OF_A_TYPE: [&str; 21] = [
    "title",
    "words",
    "prefixes",
    "cloud",
    "provides",
    "runs_on",
    "create",
    "exists",
    "read_back",
    "delete",
    "dry_run",
    "rollout",
    "switch",
    "keep",
    "fields",
    "updates",
    "quota",
    "cost",
    "impact",
    "security",
    "replaces",
];

fn kind(name: &str, entry: &Entry<'_>) -> Read<Type> {
    entry.only(&OF_A_TYPE)?;
    let words: Vec<String> = entry.texts("words")?;
    if words.is_empty() {
        return entry.wrong("words", "nothing", "at least one way to call it, such as \"aks cluster\"");
    }
    if let Some(found) = words.iter().find(|words| !is_phrase(words)) {
        return entry.wrong("words", format!("{found:?}"), "words in lower case with single spaces between them");
    }
    let mut fields = BTreeMap::from([("name".to_owned(), Field { required: true, ..Field::plain() })]);
    for (name, inner) in entry.entries("fields", &format!("{}, field", entry.name))? {
        let mut field = field(&inner)?;
        field.required |= name == "name";
        fields.insert(name, field);
    }
    let mut updates = BTreeMap::new();
    for (name, inner) in entry.entries("updates", &format!("{}, update", entry.name))? {
        updates.insert(name, update(&inner)?);
    }
    Ok(Type {
        name: name.to_owned(),
        file: entry.file.to_owned(),
        title: entry.needed_text("title")?,
        words,
        prefixes: entry.texts("prefixes")?,
        cloud: entry.text("cloud")?,
        provides: entry.texts("provides")?,
        runs_on: entry.text("runs_on")?,
        create: entry.needed_command("create")?,
        exists: exists(entry)?,
        read_back: entry.needed_command("read_back")?,
        delete: entry.needed_command("delete")?,
        dry_run: entry.command("dry_run")?,
        rollout: entry.command("rollout")?,
        switch: entry.command("switch")?,
        keep: entry.text("keep")?,
        fields,
        updates,
        quota: entry.inner("quota")?.map(|inner| quota(&inner)).transpose()?,
        cost: entry.inner("cost")?.map(|inner| cost(&inner)).transpose()?,
        impact: entry.text("impact")?,
        security: entry.text("security")?,
    })
}

fn exists(entry: &Entry<'_>) -> Read<Exists> {
    let Some(inner) = entry.inner("exists")? else {
        return entry.wrong("exists", "nothing", "a table with the command that says whether it is there");
    };
    inner.only(&["command", "prints", "prints_other_than", "absent_code", "absent_says"])?;
    let when = match (inner.text("prints")?, inner.text("prints_other_than")?) {
        (None, None) => When::Success,
        (Some(text), None) => When::Prints(text),
        (None, Some(text)) => When::PrintsOtherThan(text),
        (Some(_), Some(_)) => return inner.wrong("prints", "this and prints_other_than", "one of the two"),
    };
    let absent = Absent { code: inner.number("absent_code")?, says: inner.text("absent_says")? };
    Ok(Exists { command: inner.needed_command("command")?, when, absent })
}

fn field(entry: &Entry<'_>) -> Read<Field> {
    entry.only(&[
        "phrases",
        "pattern",
        "one_of",
        "least",
        "most",
        "default",
        "placeholder",
        "required",
        "refers_to",
        "implied",
        "hand_over",
    ])?;
    let phrases = entry.texts("phrases")?;
    if let Some(found) = phrases.iter().find(|phrase| phrase.matches("{}").count() != 1 || !is_phrase(phrase)) {
        return entry.wrong(
            "phrases",
            format!("{found:?}"),
            "words in lower case with {} once for the value, such as \"in {}\"",
        );
    }
    let field = Field {
        phrases,
        form: form(entry)?,
        default: entry.text("default")?,
        placeholder: entry.text("placeholder")?,
        required: entry.flag("required")?,
        refers_to: entry.text("refers_to")?,
        implied: entry.text("implied")?,
        hand_over: entry.text("hand_over")?,
    };
    for (key, value) in [("default", &field.default), ("placeholder", &field.placeholder)] {
        if let Some(value) = value
            && let Err(expected) = field.check(value)
        {
            return entry.wrong(key, format!("{value:?}"), expected);
        }
    }
    Ok(field)
}

fn form(entry: &Entry<'_>) -> Read<Form> {
    let (pattern, one_of) = (entry.text("pattern")?, entry.texts("one_of")?);
    let numbers = (entry.number("least")?, entry.number("most")?);
    match (pattern, one_of.is_empty(), numbers) {
        (None, true, (None, None)) => Ok(Field::plain().form),
        (Some(pattern), true, (None, None)) => {
            Form::pattern(&pattern).or_else(|_| entry.wrong("pattern", format!("{pattern:?}"), "a regular expression"))
        }
        (None, false, (None, None)) => Ok(Form::OneOf(one_of)),
        (None, true, (least, most)) => Ok(Form::Number(least.unwrap_or(0), most.unwrap_or(1 << 53))),
        _ => entry.wrong("pattern", "several of pattern, one_of, and least with most", "one of them"),
    }
}

fn update(entry: &Entry<'_>) -> Read<Update> {
    entry.only(&["says", "sets", "command", "impact"])?;
    let (says, sets) = (entry.texts("says")?, entry.texts("sets")?);
    if says.is_empty() || sets.is_empty() {
        let key = if says.is_empty() { "says" } else { "sets" };
        return entry.wrong(key, "nothing", "at least one");
    }
    Ok(Update { says, sets, command: entry.needed_command("command")?, impact: entry.text("impact")? })
}

fn quota(entry: &Entry<'_>) -> Read<Quota> {
    entry.only(&["name", "units", "read"])?;
    Ok(Quota {
        name: entry.needed_text("name")?,
        units: entry.text("units")?.unwrap_or_else(|| "1".to_owned()),
        read: entry.needed_command("read")?,
    })
}

fn cost(entry: &Entry<'_>) -> Read<Cost> {
    entry.only(&["monthly_cents", "per", "note"])?;
    let Some(monthly_cents) = entry.number("monthly_cents")? else {
        return entry.wrong("monthly_cents", "nothing", "hundredths of a currency for a month");
    };
    Ok(Cost { monthly_cents, per: entry.text("per")?, note: entry.needed_text("note")? })
}

fn is_phrase(text: &str) -> bool {
    !text.is_empty() && text == text.to_lowercase() && text.split(' ').all(|word| !word.is_empty())
}

/// What a house sets for a type that another file defines.
fn give_defaults(read: &mut Catalogue, file: &str, name: &str, table: &Table) -> Read<()> {
    let entry = Entry { file, name: format!("defaults of {name}"), table };
    let known: Vec<String> = read.types.keys().cloned().collect();
    let Some(kind) = read.types.get_mut(name) else {
        return entry.wrong("name", format!("{name:?}"), format!("one of the types {}", known.join(", ")));
    };
    let fields: Vec<String> = kind.fields.keys().cloned().collect();
    entry.only(&fields.iter().map(String::as_str).collect::<Vec<_>>())?;
    for (key, value) in table {
        let text = match value {
            Value::Integer(n) => n.to_string(),
            Value::String(text) => text.clone(),
            other => return entry.wrong(key, shown(other), "text or a whole number"),
        };
        if let Some(field) = kind.fields.get_mut(key) {
            field.check(&text).or_else(|expected| entry.wrong(key, format!("{text:?}"), expected))?;
            field.default = Some(text);
        }
    }
    Ok(())
}

/// What can only be checked when all files are read: names of tools, fields, types and roles.
fn check(read: &Catalogue) -> Read<()> {
    for (name, role) in &read.roles {
        let names = Names { read, file: &role.file, entry: format!("role {name}"), fields: None };
        names.command("check", &role.check, &[])?;
    }
    let mut programs: BTreeMap<&str, &str> = BTreeMap::new();
    for tool in read.tools.values() {
        // Behind a pipe these names mean something else, with other rules.
        if schemas::canonicals::is_pipe_allowed(unversioned(&tool.program)) {
            let expected = "a program that is not of the pipe allow-list";
            return Err(complaint(
                &tool.file,
                &format!("tool {}", tool.name),
                "program",
                format!("{:?}", tool.program),
                expected,
            ));
        }
        if let Some(other) = programs.insert(&tool.program, &tool.name) {
            // The later file is the one to change; tools are gone through by name.
            let (this, other) = if SHIPPED.iter().any(|(file, _)| *file == tool.file) {
                (other, &*tool.name)
            } else {
                (&*tool.name, other)
            };
            let file = read.tools.get(this).map_or("", |tool| tool.file.as_str());
            let found = format!("{:?}, which tool {other} has", tool.program);
            return Err(complaint(
                file,
                &format!("tool {this}"),
                "program",
                found,
                "another program, or `replaces = true` there",
            ));
        }
    }
    check_words(read)?;
    read.types.values().try_for_each(|kind| check_type(read, kind))
}

/// A way to call a type is that of one type only: otherwise a request would mean whichever comes first.
fn check_words(read: &Catalogue) -> Read<()> {
    let mut words: BTreeMap<&str, &Type> = BTreeMap::new();
    // Shipped ones first, so that the file to change is the one that was added.
    let is_added = |kind: &&Type| !SHIPPED.iter().any(|(file, _)| *file == kind.file);
    let (added, shipped): (Vec<&Type>, Vec<&Type>) = read.types.values().partition(is_added);
    for kind in shipped.into_iter().chain(added) {
        for called in &kind.words {
            if let Some(other) = words.insert(called, kind).filter(|other| other.name != kind.name) {
                let found = format!("{called:?}, which type {} has", other.name);
                return Err(complaint(&kind.file, &format!("type {}", kind.name), "words", found, "words of its own"));
            }
        }
    }
    Ok(())
}

fn check_type(read: &Catalogue, kind: &Type) -> Read<()> {
    let names = Names { read, file: &kind.file, entry: format!("type {}", kind.name), fields: Some(kind) };
    let commands = [
        ("create", Some(&kind.create)),
        ("exists", Some(&kind.exists.command)),
        ("read_back", Some(&kind.read_back)),
        ("delete", Some(&kind.delete)),
        ("dry_run", kind.dry_run.as_ref()),
        ("rollout", kind.rollout.as_ref()),
        ("quota", kind.quota.as_ref().map(|quota| &quota.read)),
    ];
    for (key, command) in commands {
        command.map_or(Ok(()), |command| names.command(key, command, &[]))?;
    }
    if let Some(switch) = &kind.switch {
        names.command("switch", switch, &["twin"])?;
    }
    for role in kind.provides.iter().chain(&kind.runs_on) {
        if !read.roles.contains_key(role) {
            return names.wrong("provides or runs_on", role, "a role of the catalogue");
        }
    }
    let mut phrases: BTreeMap<&str, &str> = BTreeMap::new();
    for (name, field) in &kind.fields {
        names.field(name, field)?;
        for phrase in &field.phrases {
            if let Some(other) = phrases.insert(phrase, name).filter(|other| other != name) {
                let expected = format!("a phrase that field {other} does not have");
                return names.wrong(&format!("fields.{name}.phrases"), phrase, &expected);
            }
        }
    }
    for (name, update) in &kind.updates {
        names.command(&format!("updates.{name}.command"), &update.command, &[])?;
        for set in &update.sets {
            names.known(&format!("updates.{name}.sets"), set)?;
        }
        for place in update.says.iter().flat_map(|says| places(says)) {
            names.known(&format!("updates.{name}.says"), place)?;
        }
    }
    for counted in kind.cost.iter().filter_map(|cost| cost.per.as_ref()) {
        names.known("cost.per", counted)?;
    }
    match &kind.quota {
        Some(quota) if quota.units.parse::<u64>().is_err() => names.known("quota.units", &quota.units),
        _ => Ok(()),
    }
}

/// The names between braces.
pub(crate) fn places(says: &str) -> impl Iterator<Item = &str> {
    says.split(' ').filter_map(|word| word.strip_prefix('{')?.strip_suffix('}'))
}

struct Names<'a> {
    read: &'a Catalogue,
    file: &'a str,
    entry: String,
    fields: Option<&'a Type>,
}

impl Names<'_> {
    fn wrong<T>(&self, field: &str, found: &str, expected: &str) -> Read<T> {
        Err(complaint(self.file, &self.entry, field, format!("{found:?}"), expected))
    }

    fn known(&self, place: &str, field: &str) -> Read<()> {
        match self.fields {
            Some(kind) if kind.fields.contains_key(field) => Ok(()),
            _ => self.wrong(place, field, "a field of the type"),
        }
    }

    fn command(&self, place: &str, command: &Template, also: &[&str]) -> Read<()> {
        if !self.read.tools.contains_key(&command.tool) {
            return self.wrong(place, &command.tool, "the name of a tool of the catalogue, as the first word");
        }
        let mut fields = command.fields().into_iter().filter(|(field, _)| !also.contains(field));
        fields.try_for_each(|(field, _)| self.known(place, field))
    }

    fn field(&self, name: &str, field: &Field) -> Read<()> {
        let place = |key: &str| format!("fields.{name}.{key}");
        let referred = field.refers_to.as_ref();
        if let Some(found) = referred
            && !self.read.types.contains_key(found)
            && !self.read.roles.contains_key(found)
        {
            return self.wrong(&place("refers_to"), found, "a type or role of the catalogue");
        }
        if let Some(implied) = &field.implied
            && !referred.is_some_and(|found| self.read.types.contains_key(found))
        {
            return self.wrong(&place("implied"), implied, "refers_to with a type of the catalogue beside it");
        }
        let Some(other) = &field.hand_over else { return Ok(()) };
        self.known(&place("hand_over"), other)?;
        let implied = self
            .fields
            .and_then(|kind| kind.fields[other].refers_to.as_ref().filter(|_| kind.fields[other].implied.is_some()));
        match implied.and_then(|found| self.read.types.get(found)) {
            Some(taker) if taker.fields.contains_key(name) => Ok(()),
            _ => self.wrong(&place("hand_over"), other, "a field that implies a resource with a field of this name"),
        }
    }
}
