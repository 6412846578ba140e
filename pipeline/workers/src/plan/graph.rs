//! The dependency graph: order, cycles, and its exports.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Step;

/// Steps and who depends on whom; steps by their places.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Graph {
    ids: Vec<String>,
    actions: Vec<&'static str>,
    /// From who depends, to whom, by which field.
    edges: Vec<(usize, usize, String)>,
}

/// Dependencies in a circle: each step with the field by which it depends on the next, the last on the first.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("dependencies go round in a circle: {}", self.shown())]
pub struct Cycle {
    /// At least one.
    pub steps: Vec<(String, String)>,
}

impl Cycle {
    fn shown(&self) -> String {
        let mut text = String::new();
        for (id, by) in &self.steps {
            // Writing into a string has no way to fail.
            let _ = write!(text, "{id} —{by}→ ");
        }
        text + self.steps.first().map_or("", |(id, _)| id)
    }
}

impl Graph {
    /// Of these steps. A dependency on a step that is not among them is none.
    pub fn new(steps: &[Step]) -> Self {
        let place: BTreeMap<&str, usize> = steps.iter().enumerate().map(|(at, step)| (step.id.as_str(), at)).collect();
        let mut edges = Vec::new();
        for (at, step) in steps.iter().enumerate() {
            edges
                .extend(step.depends_on.iter().filter_map(|(on, by)| Some((at, *place.get(on.as_str())?, by.clone()))));
        }
        Self {
            ids: steps.iter().map(|step| step.id.clone()).collect(),
            actions: steps.iter().map(|step| step.action).collect(),
            edges,
        }
    }

    /// Places in an order in which everything comes after what it depends on; where that leaves a choice, in their own order.
    pub fn order(&self) -> Result<Vec<usize>, Cycle> {
        let mut waits: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); self.ids.len()];
        let mut wanted_by: Vec<Vec<usize>> = vec![Vec::new(); self.ids.len()];
        for (from, to, _) in &self.edges {
            waits[*from].insert(*to);
            wanted_by[*to].push(*from);
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..self.ids.len()).filter(|at| waits[*at].is_empty()).map(Reverse).collect();
        let mut order = Vec::with_capacity(self.ids.len());
        while let Some(Reverse(at)) = ready.pop() {
            order.push(at);
            for after in &wanted_by[at] {
                if waits[*after].remove(&at) && waits[*after].is_empty() {
                    ready.push(Reverse(*after));
                }
            }
        }
        if order.len() == self.ids.len() { Ok(order) } else { Err(self.cycle(&waits)) }
    }

    /// Whoever still waits, waits for somebody who waits: following the first of them ends in a circle.
    fn cycle(&self, waits: &[BTreeSet<usize>]) -> Cycle {
        let mut path: Vec<usize> = Vec::new();
        let mut at = waits.iter().position(|waits| !waits.is_empty()).unwrap_or_default();
        while !path.contains(&at) {
            path.push(at);
            let next = waits[at].first().copied();
            at = next.unwrap_or(at);
        }
        let begins = path.iter().position(|seen| *seen == at).unwrap_or_default();
        let circle = &path[begins..];
        let by = |from: usize, to: usize| {
            self.edges.iter().find(|(a, b, _)| (*a, *b) == (from, to)).map_or_else(String::new, |(_, _, by)| by.clone())
        };
        let next = |place: usize| circle[(place + 1) % circle.len()];
        let steps = circle.iter().enumerate().map(|(place, at)| (self.ids[*at].clone(), by(*at, next(place))));
        Cycle { steps: steps.collect() }
    }

    /// `{"nodes": [{id, action}], "edges": [{from, to, by}]}`; an edge leads from a step to what it depends on.
    pub fn json(&self) -> Value {
        let nodes: Vec<Value> =
            self.ids.iter().zip(&self.actions).map(|(id, action)| json!({"id": id, "action": action})).collect();
        let edges: Vec<Value> = self
            .edges
            .iter()
            .map(|(from, to, by)| json!({"from": self.ids[*from], "to": self.ids[*to], "by": by}))
            .collect();
        json!({"nodes": nodes, "edges": edges})
    }

    /// For Graphviz.
    pub fn dot(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let mut out = String::from("digraph plan {\n  rankdir=BT;\n  node [shape=box];\n");
        for (id, action) in self.ids.iter().zip(&self.actions) {
            let _ = writeln!(out, "  {} [tooltip={}];", quoted(id), quoted(action));
        }
        for (from, to, by) in &self.edges {
            let _ =
                writeln!(out, "  {} -> {} [label={}];", quoted(&self.ids[*from]), quoted(&self.ids[*to]), quoted(by));
        }
        out + "}\n"
    }

    /// For Mermaid, as pages of Git hosts show it.
    pub fn mermaid(&self) -> String {
        let mut out = String::from("flowchart BT\n");
        for (at, id) in self.ids.iter().enumerate() {
            let _ = writeln!(out, "  s{at}[\"{}\"]", mermaid_text(id));
        }
        for (from, to, by) in &self.edges {
            let _ = writeln!(out, "  s{from} -->|\"{}\"| s{to}", mermaid_text(by));
        }
        out
    }

    /// A drawing of its own: what is done first on the left, arrows from what is needed to who needs it.
    pub fn svg(&self) -> String {
        let places = self.places();
        let width = places.iter().map(|place| place.x + place.width).max().unwrap_or(0) + MARGIN;
        let height = places.iter().map(|place| place.y + BOX_HEIGHT).max().unwrap_or(0) + MARGIN;
        let mut out = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" \
             font-family=\"sans-serif\" font-size=\"13\" role=\"img\">\n<title>Dependency graph</title>\n<defs><marker id=\"tip\" \
             viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0 8 4 0 8z\" \
             fill=\"#555\"/></marker></defs>\n"
        );
        for (from, to, by) in &self.edges {
            let (needs, needed) = (&places[*from], &places[*to]);
            let (x1, y1) = (needed.x + needed.width, needed.y + BOX_HEIGHT / 2);
            let (x2, y2) = (needs.x, needs.y + BOX_HEIGHT / 2);
            let bend = x1.midpoint(x2);
            let _ = writeln!(
                out,
                "<path d=\"M{x1} {y1} C{bend} {y1} {bend} {y2} {x2} {y2}\" fill=\"none\" stroke=\"#555\" marker-end=\"url(#tip)\">\
                 <title>{}</title></path>",
                entities(by)
            );
        }
        for ((id, action), Place { x, y, width }) in self.ids.iter().zip(&self.actions).zip(&places) {
            let fill = match *action {
                "create" => "#e3f4e6",
                "delete" => "#fbe3e1",
                _ => "#fdf3d8",
            };
            let (text_x, text_y) = (x + PADDING, y + 19);
            let _ = writeln!(
                out,
                "<rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{BOX_HEIGHT}\" rx=\"4\" fill=\"{fill}\" stroke=\"#555\"/>\
                 <text x=\"{text_x}\" y=\"{text_y}\">{}</text>",
                entities(id)
            );
        }
        out + "</svg>\n"
    }

    /// Columns by the longest way from what depends on nothing, rows by order.
    fn places(&self) -> Vec<Place> {
        let mut column = vec![0_usize; self.ids.len()];
        for at in self.order().unwrap_or_default() {
            let before = self.edges.iter().filter(|(from, ..)| *from == at).map(|(_, to, _)| column[*to] + 1);
            column[at] = before.max().unwrap_or(0);
        }
        let columns = column.iter().max().map_or(0, |last| last + 1);
        let width = |at: usize| self.ids[at].chars().count() * LETTER_WIDTH + 2 * PADDING;
        let mut left = MARGIN;
        let mut places = vec![Place { x: 0, y: 0, width: 0 }; self.ids.len()];
        for this in 0..columns {
            let members: Vec<usize> = (0..self.ids.len()).filter(|at| column[*at] == this).collect();
            let widest = members.iter().map(|at| width(*at)).max().unwrap_or(0);
            for (row, at) in members.into_iter().enumerate() {
                places[at] = Place { x: left, y: MARGIN + row * (BOX_HEIGHT + ROW_GAP), width: widest };
            }
            left += widest + COLUMN_GAP;
        }
        places
    }
}

const MARGIN: usize = 12;
const PADDING: usize = 10;
const BOX_HEIGHT: usize = 28;
const ROW_GAP: usize = 14;
const COLUMN_GAP: usize = 60;
/// A little more than the mean width of a letter at this size: boxes are too wide rather than too narrow.
const LETTER_WIDTH: usize = 8;

#[derive(Clone)]
struct Place {
    x: usize,
    y: usize,
    width: usize,
}

/// Text for SVG.
fn entities(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Text for Mermaid, whose entities begin with `#` in place of `&`.
fn mermaid_text(text: &str) -> String {
    text.replace('#', "#35;").replace('&', "#amp;").replace('<', "#lt;").replace('>', "#gt;").replace('"', "#quot;")
}
