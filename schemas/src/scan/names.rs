//! Member names that stand twice in one object, compared as decoded.

use std::borrow::Cow;

use super::{Kind, Token, decode};

/// Up to this many names are compared each with each, which for few is quicker than sorting; more are sorted, so that
/// an object of a hundred thousand names costs n log n.
const FEW: usize = 12;

/// Reused buffer.
#[derive(Debug, Default)]
pub(super) struct Names {
    at: Vec<u32>,
}

impl Names {
    /// The later token of a name that the object at `object` has twice.
    pub(super) fn duplicate(&mut self, document: &[u8], tokens: &[Token], object: usize) -> Option<Token> {
        self.at.clear();
        let mut escaped = false;
        let mut at = object + 1;
        while let Some(name) = tokens.get(at).filter(|token| token.kind == Kind::Name) {
            escaped |= name.escaped;
            self.at.push(super::index(at));
            at = tokens.get(at + 1)?.next as usize;
        }
        if escaped {
            return Self::sorted(tokens, &self.at, |token| decode(token.raw(document)));
        }
        if self.at.len() <= FEW {
            return self.few(document, tokens);
        }
        Self::sorted(tokens, &self.at, |token| Cow::Borrowed(token.raw(document)))
    }

    fn few(&self, document: &[u8], tokens: &[Token]) -> Option<Token> {
        for (count, &at) in self.at.iter().enumerate() {
            let name = &tokens[at as usize];
            let length = name.end - name.start;
            let same = |&earlier: &u32| {
                let earlier = &tokens[earlier as usize];
                earlier.end - earlier.start == length && earlier.raw(document) == name.raw(document)
            };
            if self.at[..count].iter().any(same) {
                return Some(*name);
            }
        }
        None
    }

    fn sorted<'a, T: Ord + ToOwned + ?Sized + 'a>(
        tokens: &[Token],
        names: &[u32],
        text: impl Fn(&Token) -> Cow<'a, T>,
    ) -> Option<Token> {
        let mut sorted: Vec<_> = names.iter().map(|&at| (text(&tokens[at as usize]), at)).collect();
        sorted.sort_unstable();
        sorted.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| tokens[pair[1].1 as usize])
    }
}
