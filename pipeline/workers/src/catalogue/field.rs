//! What may be said in a field.

use regex::Regex;

/// The longest value of a field, in bytes.
const VALUE_BYTES: usize = 4096;

/// One field of a type.
#[derive(Debug, Clone)]
pub struct Field {
    /// How requests say it, with `{}` for the value: `in {}`, `with {} nodes`.
    pub phrases: Vec<String>,
    /// What values look like.
    pub form: Form,
    /// Taken where nothing was said.
    pub default: Option<String>,
    /// Shown where nothing was said; a plan with it can be read, not executed.
    pub placeholder: Option<String>,
    /// Whether a resource can't be made without it.
    pub required: bool,
    /// The type or role whose name this is: the resource depends on that one.
    pub refers_to: Option<String>,
    /// Name of the resource that is made where nothing was said: `rg-{stem}`.
    pub implied: Option<String>,
    /// The field with a reference: where that one's resource is implied, this value is its, not ours.
    pub hand_over: Option<String>,
}

/// What values look like.
#[derive(Debug, Clone)]
pub enum Form {
    /// The whole value matches.
    Pattern(Regex),
    /// One of these.
    OneOf(Vec<String>),
    /// A whole number, between these.
    Number(u64, u64),
}

impl Field {
    /// A name: letters, digits, dots, dashes and underlines, beginning with a letter or digit.
    pub(super) fn plain() -> Self {
        Self {
            phrases: Vec::new(),
            form: Form::plain(),
            default: None,
            placeholder: None,
            required: false,
            refers_to: None,
            implied: None,
            hand_over: None,
        }
    }

    /// Whatever a pattern says: a value is never taken for an option, and can be seen.
    pub(super) fn is_harmless(value: &str) -> bool {
        !value.starts_with('-')
            && value.len() <= VALUE_BYTES
            && !value.chars().any(|c| c.is_control() || crate::argv::is_invisible(c))
    }

    /// What was expected, where a value does not fit.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if value.len() > VALUE_BYTES || value.chars().any(|c| c.is_control() || crate::argv::is_invisible(c)) {
            return Err(format!("at most {VALUE_BYTES} bytes without control and invisible characters"));
        }
        if !Self::is_harmless(value) {
            return Err("a value that does not begin with a dash, as options do".to_owned());
        }
        let fits = match &self.form {
            Form::Pattern(pattern) => pattern.is_match(value),
            Form::OneOf(words) => words.iter().any(|word| word == value),
            // One spelling for each number, so that the same plan has the same bytes.
            Form::Number(least, most) => {
                value.parse::<u64>().is_ok_and(|n| (*least..=*most).contains(&n) && n.to_string() == value)
            }
        };
        if fits { Ok(()) } else { Err(self.form.to_string()) }
    }
}

impl Form {
    fn plain() -> Self {
        #[expect(clippy::expect_used, reason = "the pattern is a constant, and every test reads it")]
        Self::pattern("[A-Za-z0-9][A-Za-z0-9._-]{0,127}").expect("a pattern")
    }

    /// A pattern of the whole value.
    pub(super) fn pattern(text: &str) -> Result<Self, regex::Error> {
        Regex::new(&format!("^(?:{text})$")).map(Self::Pattern)
    }
}

impl std::fmt::Display for Form {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pattern(pattern) => {
                let text = pattern.as_str();
                let inner = text.strip_prefix("^(?:").and_then(|text| text.strip_suffix(")$")).unwrap_or(text);
                write!(out, "text that matches {inner}")
            }
            Self::OneOf(words) => write!(out, "one of {}", words.join(", ")),
            Self::Number(least, most) => write!(out, "a whole number from {least} to {most}"),
        }
    }
}
