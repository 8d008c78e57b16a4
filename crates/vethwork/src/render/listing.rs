//! Lists: one template or table for every `ls`-like command.

use super::{Template, TemplateError, align};
use gotmpl::Value;
use std::{collections::BTreeMap, sync::Arc};

/// A field that templates may use, and its heading in tables.
type Column = (&'static str, &'static str);

/// One kind of list.
#[derive(Debug)]
pub(crate) struct Listing {
    /// Every field, with its heading.
    pub(crate) columns: &'static [Column],
    /// What a table shows when nothing is said.
    pub(crate) table: &'static str,
    /// What `--quiet` shows.
    pub(crate) quiet: &'static str,
}

/// One object of a list.
#[derive(Debug, Default)]
pub(crate) struct Row(BTreeMap<Arc<str>, Value>);

impl Row {
    /// Adds a field.
    pub(crate) fn field(mut self, name: &str, text: impl Into<String>) -> Self {
        let text: String = text.into();
        self.0.insert(name.into(), Value::String(text.into()));
        self
    }

    /// Adds `.Labels` and `.Label "name"`.
    pub(crate) fn labels(self, labels: &BTreeMap<String, String>) -> Self {
        let joined: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let labels = labels.clone();
        let mut row = self.field("Labels", joined.join(","));
        row.method("Label", move |name| {
            labels.get(name).cloned().unwrap_or_default()
        });
        row
    }

    fn method(&mut self, name: &str, get: impl Fn(&str) -> String + Send + Sync + 'static) {
        let call = move |args: &[Value]| {
            let name = args.first().map(ToString::to_string).unwrap_or_default();
            Ok(Value::String(get(&name).into()))
        };
        self.0.insert(name.into(), Value::Function(Arc::new(call)));
    }
}

impl Listing {
    /// The list as text: `table` and `table TEMPLATE` aligned under headings, `json` and templates
    /// a line an object.
    ///
    /// # Errors
    /// When the template is wrong.
    pub(crate) fn render(
        &self,
        format: Option<&str>,
        quiet: bool,
        rows: Vec<Row>,
    ) -> Result<String, TemplateError> {
        // Docker reads these two escapes where a shell leaves them.
        let format = format
            .unwrap_or("table")
            .replace("\\t", "\t")
            .replace("\\n", "\n");
        if quiet {
            return lines(&Template::parse(self.quiet)?, rows);
        }
        let table = match format.as_str() {
            "json" => return lines(&Template::parse("{{json .}}")?, rows),
            "table" | "" => self.table,
            other => match other.strip_prefix("table ") {
                Some(table) => table.trim(),
                None => return lines(&Template::parse(other)?, rows),
            },
        };
        let headings = Template::parse_for_headings(table)?.execute(&self.headings())?;
        Ok(align(&format!(
            "{headings}\n{}",
            lines(&Template::parse(table)?, rows)?
        )))
    }

    /// Every field's heading; a label's is its own name.
    fn headings(&self) -> Value {
        let mut row = self
            .columns
            .iter()
            .fold(Row::default(), |row, (name, heading)| {
                row.field(name, *heading)
            });
        row.method("Label", |name| {
            name.rsplit('.')
                .next()
                .unwrap_or_default()
                .replace(['-', '_'], " ")
        });
        Value::Map(Arc::new(row.0))
    }
}

fn lines(template: &Template, rows: Vec<Row>) -> Result<String, TemplateError> {
    let mut text = String::new();
    for row in rows {
        text += &template.execute(&Value::Map(Arc::new(row.0)))?;
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
