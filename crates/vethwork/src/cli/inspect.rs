//! `inspect`: objects as the daemon describes them, whole or through a template.

use super::{Context, Done, Failure, failure::REFUSED, output::print};
use crate::{
    client::Request,
    render::{Template, indent, value_of},
};
use clap::{Args, ValueEnum};
use gotmpl::Value;
use hyper::body::Bytes;
use std::sync::Arc;

/// `inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// Display total file sizes if the type is container
    #[arg(short, long)]
    size: bool,
    /// Only inspect objects of the given type
    #[arg(long, value_name = "TYPE")]
    r#type: Option<Kind>,
    /// Containers, images or networks, by name or id
    #[arg(required = true, value_name = "NAME|ID")]
    names: Vec<String>,
}

/// What can be inspected, in the order in which a name is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
    Network,
}

impl Kind {
    fn request(self, name: &str, size: bool) -> Request {
        match self {
            Self::Container => Request::get(&["containers", name, "json"]).flag("size", size),
            Self::Image => Request::get(&["images", name, "json"]),
            Self::Network => Request::get(&["networks", name]),
        }
    }
}

impl Inspect {
    /// Prints every object.
    ///
    /// # Errors
    /// When one of them is not there, or the template is wrong.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        show(
            &self.names,
            self.format.as_deref(),
            async |name| match self.r#type {
                Some(kind) => Ok(context.client.text(kind.request(name, self.size)).await?),
                None => self.find(context, name).await,
            },
        )
        .await
    }

    async fn find(&self, context: &Context, name: &str) -> Done<Bytes> {
        for kind in [Kind::Container, Kind::Image, Kind::Network] {
            match context.client.text(kind.request(name, self.size)).await {
                Err(error) if error.is_not_found() => {}
                found => return Ok(found?),
            }
        }
        Err(Failure::refused(format!("Error: No such object: {name}")))
    }
}

/// Prints what is there of several objects, then says what is not.
///
/// # Errors
/// When one of them is not there, or the template is wrong.
pub(crate) async fn show(
    names: &[String],
    format: Option<&str>,
    fetch: impl AsyncFn(&str) -> Done<Bytes>,
) -> Done {
    let template = match format {
        None | Some("") => None,
        Some("json") => Some(Template::parse("{{json .}}")?),
        Some(text) => Some(Template::parse(
            &text.replace("\\t", "\t").replace("\\n", "\n"),
        )?),
    };
    let mut found = Vec::new();
    let mut failures = Vec::new();
    for name in names {
        match fetch(name).await {
            Ok(document) => found.push(String::from_utf8_lossy(&document).trim().to_owned()),
            Err(failure) => failures.push(failure),
        }
    }
    match template {
        None => print(&format!(
            "{}\n",
            indent(&format!("[{}]", found.join(",")), "")
        ))?,
        Some(template) => {
            for document in &found {
                print(&format!("{}\n", apply(&template, document)?))?;
            }
        }
    }
    for failure in &failures {
        eprintln!("{}", failure.chain());
    }
    if failures.is_empty() {
        Ok(())
    } else {
        Err(Failure::Status(REFUSED))
    }
}

/// Applies a template. Where it names the identity as Docker's own structures do (`.ID` for the
/// document's `Id`), the document gets that name too.
fn apply(template: &Template, document: &str) -> Done<String> {
    let document: serde_json::Value =
        serde_json::from_str(document).map_err(crate::client::Error::Answer)?;
    let value = value_of(&document);
    let done = template.execute(&value);
    if done.is_err()
        && let Value::Map(map) = &value
        && let Some(id) = map.get("Id")
    {
        let mut map = map.as_ref().clone();
        map.insert("ID".into(), id.clone());
        return Ok(template.execute(&Value::Map(Arc::new(map)))?);
    }
    Ok(done?)
}
