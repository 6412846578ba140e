//! The levels of a day: those of the window that ends with it, with the attestations that stood at its end.

use super::evidence::Figures;
use super::report;

/// Overall and by phase, measured and with attestations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DayLevels {
    /// The overall level, measured.
    pub level: u8,
    /// With attestations.
    pub with_attestations: u8,
    /// The gate that caps the measured level.
    pub cap: Option<String>,
    /// The five phases, measured, in the model's order.
    pub phases: Vec<u8>,
    /// With attestations.
    pub phases_with_attestations: Vec<u8>,
}

/// The levels of these figures.
pub fn day_levels(figures: &Figures) -> DayLevels {
    let (measured, attested) = (report::measured(figures), report::with_attestations(figures));
    let levels = |levels: &super::score::Levels| levels.phases.iter().map(|row| row.level).collect();
    DayLevels {
        level: measured.overall,
        with_attestations: attested.overall,
        cap: measured.cap().map(|gate| gate.id.clone()),
        phases: levels(&measured),
        phases_with_attestations: levels(&attested),
    }
}
