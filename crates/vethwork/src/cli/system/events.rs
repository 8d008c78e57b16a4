//! `events`.

use crate::{
    cli::{Context, Done, grammar, output::print_line},
    client::{self, Request, moment},
    render::{Template, clock, value_of},
};
use clap::Args;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// `events`.
#[derive(Debug, Args)]
pub(crate) struct Events {
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER", value_parser = grammar::filter)]
    filter: Vec<(String, String)>,
    /// Format output: 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show all events created since timestamp
    #[arg(long, value_name = "TIME", value_parser = moment)]
    since: Option<String>,
    /// Stream events until this timestamp
    #[arg(long, value_name = "TIME", value_parser = moment)]
    until: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Event {
    r#type: String,
    action: String,
    actor: Actor,
    #[serde(rename = "timeNano")]
    time_nano: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Actor {
    #[serde(rename = "ID")]
    id: String,
    attributes: BTreeMap<String, String>,
}

impl Events {
    /// Prints what happens, as it happens.
    ///
    /// # Errors
    /// As the daemon refuses, or the template is wrong.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let template = match self.format.as_deref() {
            None | Some("" | "json") => None,
            Some(text) => Some(Template::parse(
                &text.replace("\\t", "\t").replace("\\n", "\n"),
            )?),
        };
        let request = Request::get(&["events"])
            .filters(&self.filter)
            .option("since", self.since.as_deref())
            .option("until", self.until.as_deref());
        let mut answer = context.client.stream(request).await?;
        while let Some(line) = answer.line().await? {
            let text = match (&template, self.format.as_deref()) {
                (Some(template), _) => {
                    let mut event: Value = parse(&line)?;
                    // Docker's own structures give these fields other names than the document.
                    for (name, field) in [("Time", "time"), ("TimeNano", "timeNano"), ("ID", "id")]
                    {
                        event[name] = event[field].clone();
                    }
                    template.execute(&value_of(&event))?
                }
                (None, Some("json")) => line,
                (None, _) => parse::<Event>(&line)?.to_string(),
            };
            print_line(&text)?;
        }
        Ok(())
    }
}

fn parse<T: serde::de::DeserializeOwned>(line: &str) -> Result<T, client::Error> {
    serde_json::from_str(line).map_err(client::Error::Answer)
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            r#type,
            action,
            actor,
            time_nano,
        } = self;
        write!(
            f,
            "{} {type} {action} {}",
            clock::rfc3339_nano(*time_nano),
            actor.id
        )?;
        if actor.attributes.is_empty() {
            return Ok(());
        }
        let attributes: Vec<String> = actor
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        write!(f, " ({})", attributes.join(", "))
    }
}
