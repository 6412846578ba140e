//! The catalogue as JSON, for `upm catalogue --json` and pages.

use serde_json::{Map, Value, json};

use super::{Catalogue, Exists, Field, Form, Template, Type, When};

impl Catalogue {
    /// `{"digest", "tools": […], "types": [{"type", "title", "words", "tool", "cloud"}]}`.
    pub fn document(&self) -> Value {
        let tools: Vec<Value> = self
            .tools
            .values()
            .map(|tool| json!({"tool": tool.name, "program": tool.program, "version": tool.version, "file": tool.file}))
            .collect();
        let types: Vec<Value> = self
            .types
            .values()
            .map(|kind| {
                some([
                    ("type", Some(kind.name.as_str().into())),
                    ("title", Some(kind.title.as_str().into())),
                    ("words", Some(kind.words.clone().into())),
                    ("tool", Some(kind.create.tool.as_str().into())),
                    ("cloud", kind.cloud.as_deref().map(Into::into)),
                    ("file", Some(kind.file.as_str().into())),
                ])
            })
            .collect();
        json!({"digest": self.digest(), "tools": tools, "types": types})
    }

    /// All of one type; commands as people write them, groups that may be absent in brackets.
    pub fn type_document(&self, kind: &Type) -> Value {
        let shown = |template: &Template| Value::from(template.shown(&self.program(&template.tool)));
        let fields: Map<String, Value> = kind.fields.iter().map(|(name, one)| (name.clone(), field(one))).collect();
        let updates: Map<String, Value> = kind
            .updates
            .iter()
            .map(|(name, update)| {
                (name.clone(), json!({"says": update.says, "sets": update.sets, "command": shown(&update.command)}))
            })
            .collect();
        some([
            ("type", Some(kind.name.as_str().into())),
            ("title", Some(kind.title.as_str().into())),
            ("words", Some(kind.words.clone().into())),
            ("file", Some(kind.file.as_str().into())),
            ("cloud", kind.cloud.as_deref().map(Into::into)),
            ("provides", Some(kind.provides.clone().into()).filter(|_| !kind.provides.is_empty())),
            ("runs_on", kind.runs_on.as_deref().map(Into::into)),
            ("create", Some(shown(&kind.create))),
            ("exists", Some(exists(&kind.exists, &shown(&kind.exists.command)))),
            ("read_back", Some(shown(&kind.read_back))),
            ("delete", Some(shown(&kind.delete))),
            ("dry_run", kind.dry_run.as_ref().map(shown)),
            ("rollout", kind.rollout.as_ref().map(shown)),
            ("switch", kind.switch.as_ref().map(shown)),
            ("keep", kind.keep.as_deref().map(Into::into)),
            ("fields", Some(fields.into())),
            ("updates", Some(Value::Object(updates)).filter(|_| !kind.updates.is_empty())),
            (
                "quota",
                kind.quota
                    .as_ref()
                    .map(|quota| json!({"name": quota.name, "units": quota.units, "read": shown(&quota.read)})),
            ),
            (
                "cost",
                kind.cost.as_ref().map(|cost| {
                    some([
                        ("monthly_usd_cents", Some(cost.monthly_cents.into())),
                        ("per", cost.per.as_deref().map(Into::into)),
                        ("note", Some(cost.note.as_str().into())),
                    ])
                }),
            ),
            ("impact", kind.impact.as_deref().map(Into::into)),
            ("security", kind.security.as_deref().map(Into::into)),
        ])
    }
}

fn some<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    Value::Object(members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect())
}

fn exists(exists: &Exists, command: &Value) -> Value {
    let (prints, other_than) = match &exists.when {
        When::Success => (None, None),
        When::Prints(text) => (Some(text), None),
        When::PrintsOtherThan(text) => (None, Some(text)),
    };
    let text = |text: &String| Value::from(text.as_str());
    some([
        ("command", Some(command.clone())),
        ("prints", prints.map(text)),
        ("prints_other_than", other_than.map(text)),
        ("absent_code", exists.absent.code.map(Into::into)),
        ("absent_says", exists.absent.says.as_ref().map(text)),
    ])
}

fn field(field: &Field) -> Value {
    let one_of = match &field.form {
        Form::OneOf(words) => Some(words.clone().into()),
        _ => None,
    };
    some([
        ("phrases", Some(field.phrases.clone().into()).filter(|_| !field.phrases.is_empty())),
        ("expected", Some(field.form.to_string().into()).filter(|_| one_of.is_none())),
        ("one_of", one_of),
        ("default", field.default.as_deref().map(Into::into)),
        ("placeholder", field.placeholder.as_deref().map(Into::into)),
        ("required", field.required.then_some(true.into())),
        ("refers_to", field.refers_to.as_deref().map(Into::into)),
        ("implied", field.implied.as_deref().map(Into::into)),
        ("hand_over", field.hand_over.as_deref().map(Into::into)),
    ])
}
