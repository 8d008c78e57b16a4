//! Figures as people and programs read them: one table a benchmark.
//!
//! It must not judge: an aim stands beside the ratio that it is about.

use crate::{machine, samples::Samples};
use serde::Serialize;
use std::{fmt, fs, io, path::PathBuf};

/// The figures of one benchmark.
#[derive(Debug, Serialize)]
pub(crate) struct Table {
    title: String,
    command: String,
    machine: machine::Machine,
    rows: Vec<Row>,
    notes: Vec<String>,
}

/// What one of those compared did.
#[derive(Debug, Serialize)]
struct Row {
    what: String,
    who: String,
    unit: &'static str,
    measured: usize,
    median: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    p99: Option<f64>,
    /// Vethwork's median divided by this one's, or what else the benchmark says.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
    /// Between which two ratios the middle half of all rounds lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<(f64, f64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aim: Option<Aim>,
}

/// What a ratio should be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

impl Table {
    /// An empty table of the benchmark `name`.
    pub(crate) fn new(name: &str, title: &str) -> Self {
        Self {
            title: title.to_owned(),
            command: format!("cargo run --release -p vw-benches -- {name}"),
            machine: machine::describe(),
            rows: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// What was measured, without comparison.
    pub(crate) fn row(&mut self, what: &str, who: &str, unit: &'static str, samples: &Samples) {
        self.push(what, who, unit, samples, None, None);
    }

    /// What a peer did; the ratio is `ours` to it.
    pub(crate) fn peer(
        &mut self,
        what: &str,
        who: &str,
        unit: &'static str,
        (theirs, ours): (&Samples, &Samples),
        aim: impl Into<Option<Aim>>,
    ) {
        let ratio = ours.median() / theirs.median();
        self.push(what, who, unit, theirs, Some(ratio), aim.into());
    }

    /// What a peer did, one value a round, by turns with ours: the ratio is the median of the
    /// rounds' own ratios.
    pub(crate) fn rounds(
        &mut self,
        what: &str,
        who: &str,
        unit: &'static str,
        (theirs, ours): (&Samples, &Samples),
        aim: impl Into<Option<Aim>>,
    ) {
        let ratios = ours.by_rounds(theirs);
        self.push(what, who, unit, theirs, Some(ratios.median()), aim.into());
        if let Some(row) = self.rows.last_mut() {
            row.spread = Some((ratios.quantile(0.25), ratios.quantile(0.75)));
        }
    }

    /// What vethwork did; the ratio is to its own `base`.
    pub(crate) fn grown(
        &mut self,
        what: &str,
        unit: &'static str,
        (samples, base): (&Samples, &Samples),
        aim: impl Into<Option<Aim>>,
    ) {
        let ratio = samples.median() / base.median();
        self.push(what, OURS, unit, samples, Some(ratio), aim.into());
    }

    fn push(
        &mut self,
        what: &str,
        who: &str,
        unit: &'static str,
        samples: &Samples,
        ratio: Option<f64>,
        aim: Option<Aim>,
    ) {
        self.rows.push(Row {
            what: what.to_owned(),
            who: who.to_owned(),
            unit,
            measured: samples.len(),
            median: samples.median(),
            p99: (samples.len() > 1).then(|| samples.quantile(0.99)),
            ratio,
            spread: None,
            aim,
        });
    }

    /// A sentence below the table: a peer that was left out, or how to read a figure.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

/// How the tables call what is measured here.
pub(crate) const OURS: &str = "vethwork";

impl fmt::Display for Aim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(value) => write!(f, "<= {value}"),
            Self::AtLeast(value) => write!(f, ">= {value}"),
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n  {}", self.title, self.command)?;
        let heads = [
            "what", "who", "median", "p99", "", "n", "ratio", "half", "aim",
        ];
        let mut lines = vec![heads.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let widths: Vec<usize> = (0..heads.len())
            .map(|at| lines.iter().map(|line| line[at].len()).max().unwrap_or(0))
            .collect();
        for line in &lines {
            let mut text = String::from(" ");
            for (at, cell) in line.iter().enumerate() {
                let width = widths[at];
                // Words to the left, numbers to the right.
                text += &match at {
                    0 | 1 | 4 | 8 => format!(" {cell:<width$} "),
                    _ => format!(" {cell:>width$} "),
                };
            }
            writeln!(f, "{}", text.trim_end())?;
        }
        self.notes
            .iter()
            .try_for_each(|note| writeln!(f, "  {note}"))
    }
}

impl Row {
    fn cells(&self) -> [String; 9] {
        [
            self.what.clone(),
            self.who.clone(),
            number(self.median),
            self.p99.map(number).unwrap_or_default(),
            self.unit.to_owned(),
            self.measured.to_string(),
            self.ratio.map(number).unwrap_or_default(),
            self.spread
                .map(|(low, high)| format!("{}-{}", number(low), number(high)))
                .unwrap_or_default(),
            self.aim.map(|aim| aim.to_string()).unwrap_or_default(),
        ]
    }
}

/// Three digits, and never fewer than stand before the point.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    format!("{value:.digits$}")
}

/// Writes a table to `target/benches/NAME.json`, beside the profile that this program is of.
pub(crate) fn write_json(name: &str, table: &Table) -> io::Result<PathBuf> {
    let program = std::env::current_exe()?;
    // target/release/vw-benches
    let target = program.ancestors().nth(2);
    let folder = target
        .ok_or_else(|| io::Error::other("this program lies in no target folder"))?
        .join("benches");
    fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{name}.json"));
    let mut text = serde_json::to_vec_pretty(table)?;
    text.push(b'\n');
    fs::write(&path, text)?;
    Ok(path)
}
