//! `vethwork service`: a name, and where wanted an address and ports, over several endpoints.

mod create;
mod list;

use super::{
    Context, Done, grammar, inspect,
    output::{each, print_line},
};
use crate::client::{Error, Request};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::{Map, Value};

/// The subcommands of `service`.
#[derive(Debug, Subcommand)]
pub(crate) enum Service {
    /// Create a service
    Create(Box<create::Create>),
    /// Display detailed information on one or more services
    Inspect(Inspect),
    /// List services
    #[command(visible_alias = "list")]
    Ls(list::List),
    /// Remove one or more services
    #[command(visible_alias = "remove")]
    Rm(Remove),
    /// Change a service
    Update(Box<Update>),
}

/// `service inspect`.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    /// Format output using a custom template: 'json', or a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// `service rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// The services
    #[arg(required = true, value_name = "SERVICE")]
    services: Vec<String>,
}

/// How endpoints are asked whether they are well.
#[derive(Debug, Args)]
pub(crate) struct Health {
    /// Lead to endpoints that are well alone: tcp:PORT, http:PORT[/PATH] or exec:COMMAND
    #[arg(long, value_name = "CHECK")]
    health: Option<String>,
    /// Time between running the check
    #[arg(long, value_name = "DURATION", value_parser = grammar::duration)]
    health_interval: Option<i64>,
    /// Consecutive failures needed to report unhealthy
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    health_retries: Option<u32>,
    /// Time in which failures do not count
    #[arg(long, value_name = "DURATION", value_parser = grammar::duration)]
    health_start_period: Option<i64>,
    /// Maximum time to allow one check to run
    #[arg(long, value_name = "DURATION", value_parser = grammar::duration)]
    health_timeout: Option<i64>,
}

impl Health {
    fn body(&self) -> Option<Value> {
        let mut body = Map::new();
        let test = self.health.clone();
        body.extend(test.map(|test| ("Test".to_owned(), test.into())));
        for (key, value) in [
            ("Interval", self.health_interval),
            ("Timeout", self.health_timeout),
            ("StartPeriod", self.health_start_period),
            ("Retries", self.health_retries.map(i64::from)),
        ] {
            body.extend(value.map(|value| (key.to_owned(), value.into())));
        }
        (!body.is_empty()).then(|| body.into())
    }
}

/// `service update`.
#[derive(Debug, Args)]
pub(crate) struct Update {
    /// Whom clients are led to: none (by chance), or client (the same one by the client's address)
    #[arg(long, value_name = "none|client")]
    affinity: Option<String>,
    /// How long connections to an endpoint that leaves may go on
    #[arg(long, value_name = "DURATION", value_parser = grammar::duration)]
    drain: Option<i64>,
    #[command(flatten)]
    health: Health,
    /// Check endpoints no more
    #[arg(long, conflicts_with = "health")]
    no_health: bool,
    /// Publish a further port, in any way of create
    #[arg(long, value_name = "[[IP:][PORT]:]PORT[/PROTO]")]
    publish_add: Vec<String>,
    /// Publish a port of the endpoints no more
    #[arg(long, value_name = "PORT[/PROTO]")]
    publish_rm: Vec<String>,
    /// The service
    service: String,
}

impl Update {
    fn body(&self) -> Value {
        let mut body = Map::new();
        body.insert("PublishAdd".to_owned(), self.publish_add.clone().into());
        body.insert("PublishRemove".to_owned(), self.publish_rm.clone().into());
        body.insert("NoHealth".to_owned(), self.no_health.into());
        let affinity = self.affinity.clone();
        body.extend(affinity.map(|affinity| ("Affinity".to_owned(), affinity.into())));
        body.extend(self.drain.map(|drain| ("Drain".to_owned(), drain.into())));
        body.extend(
            self.health
                .body()
                .map(|health| ("Health".to_owned(), health)),
        );
        body.into()
    }

    async fn run(&self, context: &Context) -> Done {
        let request = Request::post(&["vethwork", "services", &self.service, "update"]);
        let answer = context.client.text(request.body(&self.body())).await?;
        // A daemon of an older version says nothing.
        if !answer.is_empty() {
            let changed: Answer = serde_json::from_slice(&answer).map_err(Error::Answer)?;
            changed.warn();
        }
        print_line(&self.service)
    }
}

/// The answer to a request that makes or changes something.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Answer {
    id: String,
    warnings: Vec<String>,
}

impl Answer {
    fn warn(&self) {
        for warning in &self.warnings {
            eprintln!("WARNING: {warning}");
        }
    }
}

impl Service {
    /// Runs it.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(self, context: &Context) -> Done {
        match self {
            Self::Create(args) => args.run(context).await,
            Self::Inspect(args) => args.run(context).await,
            Self::Ls(args) => args.run(context).await,
            Self::Rm(args) => args.run(context).await,
            Self::Update(args) => args.run(context).await,
        }
    }
}

impl Inspect {
    async fn run(&self, context: &Context) -> Done {
        inspect::show(&self.services, self.format.as_deref(), async |name| {
            let request = Request::get(&["vethwork", "services", name]);
            Ok(context.client.text(request).await?)
        })
        .await
    }
}

impl Remove {
    async fn run(&self, context: &Context) -> Done {
        each(&self.services, async |name| {
            let request = Request::delete(&["vethwork", "services", name]);
            context.client.run(request).await?;
            Ok(format!("{name}\n"))
        })
        .await
    }
}
