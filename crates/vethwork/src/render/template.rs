//! Go templates with the docker CLI's functions.

use gotmpl::{
    MissingKey, Value,
    parse::{BranchNode, CommandNode, Expr, ListNode, Node, Parser, PipeNode},
};
use std::sync::Arc;

/// A template that cannot be read, or does not fit what it is applied to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TemplateError {
    /// Its text.
    #[error("template parsing error: {0}")]
    Parse(#[source] gotmpl::TemplateError),
    /// Its use.
    #[error("failed to execute template: {0}")]
    Execute(#[source] gotmpl::TemplateError),
    /// A field that there is not.
    #[error("failed to execute template: there is no field {key}; there are: {fields}")]
    Field {
        /// The one asked for.
        key: String,
        /// Those that there are.
        fields: String,
    },
}

/// Fields that take an argument, such as `.Label "name"`.
const METHODS: &[&str] = &["Label"];
/// The name under which a template's own tree is kept.
const MAIN: &str = "main";

/// A template ready to be applied.
pub(crate) struct Template(gotmpl::Template);

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError::Parse`].
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        Self::with_functions(text, functions)
    }

    /// Reads a template to be applied to a table's headings, which functions leave as they are.
    ///
    /// # Errors
    /// [`TemplateError::Parse`].
    pub(crate) fn parse_for_headings(text: &str) -> Result<Self, TemplateError> {
        Self::with_functions(text, |template| {
            [
                "json", "split", "join", "title", "lower", "upper", "truncate",
            ]
            .into_iter()
            .fold(template, |template, name| {
                template.func(name, |args| Ok(args.first().cloned().unwrap_or(Value::Nil)))
            })
        })
    }

    fn with_functions(
        text: &str,
        add: impl FnOnce(gotmpl::Template) -> gotmpl::Template,
    ) -> Result<Self, TemplateError> {
        let parser = Parser::new(text, "{{", "}}").map_err(TemplateError::Parse)?;
        let (mut tree, defines) = parser.parse().map_err(TemplateError::Parse)?;
        call_methods(&mut tree);
        let mut template = gotmpl::Template::new("").missing_key(MissingKey::Error);
        for mut define in defines {
            call_methods(&mut define.body);
            template = template.add_parse_tree(&define.name, define.body);
        }
        Ok(Self(add(functions(template)).add_parse_tree(MAIN, tree)))
    }

    /// Applies it.
    ///
    /// # Errors
    /// [`TemplateError::Field`] or [`TemplateError::Execute`].
    pub(crate) fn execute(&self, data: &Value) -> Result<String, TemplateError> {
        let done = self.0.execute_template_to_string(MAIN, data);
        done.map_err(|error| match (error, data) {
            (gotmpl::TemplateError::MissingKey { key }, Value::Map(map)) => {
                let fields: Vec<&str> = map.keys().map(AsRef::as_ref).collect();
                TemplateError::Field {
                    key,
                    fields: fields.join(", "),
                }
            }
            (error, _) => TemplateError::Execute(error),
        })
    }
}

/// The docker CLI's own functions.
fn functions(template: gotmpl::Template) -> gotmpl::Template {
    let text = |value: Option<&Value>| value.map(ToString::to_string).unwrap_or_default();
    let string = |text: String| Ok(Value::String(text.into()));
    let count = |value: Option<&Value>| {
        let count = value.and_then(Value::as_int).unwrap_or_default();
        usize::try_from(count).unwrap_or_default()
    };
    template
        .func("json", move |args| {
            string(
                args.first()
                    .map_or_else(|| "null".to_owned(), |value| to_json(value).to_string()),
            )
        })
        .func("split", move |args| {
            let (whole, separator) = (text(args.first()), text(args.get(1)));
            let parts = whole
                .split(separator.as_str())
                .map(|part| Value::String(part.into()));
            Ok(Value::List(parts.collect()))
        })
        .func("join", move |args| match args.first() {
            Some(Value::List(parts)) => {
                let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
                string(parts.join(&text(args.get(1))))
            }
            other => string(text(other)),
        })
        .func("title", move |args| string(title(&text(args.first()))))
        .func("lower", move |args| {
            string(text(args.first()).to_lowercase())
        })
        .func("upper", move |args| {
            string(text(args.first()).to_uppercase())
        })
        .func("pad", move |args| match text(args.first()) {
            empty if empty.is_empty() => string(empty),
            whole => {
                let (before, after) = (count(args.get(1)), count(args.get(2)));
                string(format!(
                    "{}{whole}{}",
                    " ".repeat(before),
                    " ".repeat(after)
                ))
            }
        })
        .func("truncate", move |args| {
            string(
                text(args.first())
                    .chars()
                    .take(count(args.get(1)))
                    .collect(),
            )
        })
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .flat_map(|c| {
            let upper = start && c.is_alphabetic();
            start = !(c.is_alphanumeric() || c == '_' || c == '\'');
            let mut converted: Vec<char> = Vec::with_capacity(1);
            if upper {
                converted.extend(c.to_uppercase())
            } else {
                converted.push(c)
            }
            converted
        })
        .collect()
}

/// A JSON document as a template sees it.
pub(crate) fn value_of(document: &serde_json::Value) -> Value {
    match document {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(truth) => Value::Bool(*truth),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Value::Int(int),
            (None, Some(uint)) => Value::Uint(uint),
            (None, None) => Value::Float(number.as_f64().unwrap_or_default()),
        },
        serde_json::Value::String(text) => Value::String(text.as_str().into()),
        serde_json::Value::Array(list) => Value::List(list.iter().map(value_of).collect()),
        serde_json::Value::Object(map) => {
            let entries = map
                .iter()
                .map(|(key, value)| (key.as_str().into(), value_of(value)));
            Value::Map(Arc::new(entries.collect()))
        }
    }
}

/// A template's value as JSON; methods are left out.
fn to_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil | Value::Function(_) => serde_json::Value::Null,
        Value::Bool(truth) => (*truth).into(),
        Value::Int(int) => (*int).into(),
        Value::Uint(uint) => (*uint).into(),
        Value::Float(float) => (*float).into(),
        Value::String(text) => text.as_ref().into(),
        Value::List(list) => list.iter().map(to_json).collect(),
        Value::Map(map) => map
            .iter()
            .filter(|(_, value)| !matches!(value, Value::Function(_)))
            .map(|(key, value)| (key.to_string(), to_json(value)))
            .collect(),
    }
}

/// Makes calls of methods what they are: the template engine calls functions in fields only by
/// the builtin `call`.
fn call_methods(list: &mut ListNode) {
    for node in &mut list.nodes {
        match node {
            Node::Action(action) => in_pipe(&mut action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => in_branch(branch),
            Node::Template(template) => {
                if let Some(pipe) = &mut template.pipe {
                    in_pipe(pipe);
                }
            }
            Node::List(list) => call_methods(list),
            _ => {}
        }
    }
}

fn in_branch(branch: &mut BranchNode) {
    in_pipe(&mut branch.pipe);
    call_methods(&mut branch.body);
    if let Some(body) = &mut branch.else_body {
        call_methods(body);
    }
}

fn in_pipe(pipe: &mut PipeNode) {
    for (index, command) in pipe.commands.iter_mut().enumerate() {
        in_command(command, index > 0);
    }
}

fn in_command(command: &mut CommandNode, piped: bool) {
    for arg in &mut command.args {
        if let Expr::Pipe(_, pipe) = arg {
            in_pipe(pipe);
        }
    }
    let method = match command.args.first() {
        Some(Expr::Field(at, names) | Expr::Variable(at, _, names)) => names
            .last()
            .is_some_and(|name| METHODS.contains(&name.as_str()))
            .then_some(*at),
        _ => None,
    };
    if let Some(at) = method.filter(|_| piped || command.args.len() > 1) {
        command.args.insert(0, Expr::Identifier(at, "call".into()));
    }
}

#[cfg(test)]
mod tests;
