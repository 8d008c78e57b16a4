//! `stop`, `restart`, `kill`, `rm`, `rename`, `wait`.

use crate::{
    cli::{Context, Done, Failure, output::each},
    client::Request,
};
use clap::Args;
use serde::Deserialize;

/// `stop`.
#[derive(Debug, Args)]
pub(crate) struct Stop {
    #[command(flatten)]
    how: HowToStop,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `restart`.
#[derive(Debug, Args)]
pub(crate) struct Restart {
    #[command(flatten)]
    how: HowToStop,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

#[derive(Debug, Args)]
struct HowToStop {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// Seconds to wait before killing the container
    #[arg(
        short = 't',
        long = "timeout",
        visible_alias = "time",
        value_name = "SECONDS",
        allow_negative_numbers = true
    )]
    timeout: Option<i64>,
}

impl HowToStop {
    fn add(&self, request: Request) -> Request {
        request
            .option("signal", self.signal.as_deref())
            .option("t", self.timeout)
    }
}

/// `kill`.
#[derive(Debug, Args)]
pub(crate) struct Kill {
    /// Signal to send to the container
    #[arg(short, long, value_name = "SIGNAL")]
    signal: Option<String>,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `rm`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Force the removal of a running container (uses SIGKILL)
    #[arg(short, long)]
    force: bool,
    /// Remove the specified link
    #[arg(short, long)]
    link: bool,
    /// Remove anonymous volumes associated with the container
    #[arg(short, long)]
    volumes: bool,
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `rename`.
#[derive(Debug, Args)]
pub(crate) struct Rename {
    /// The container
    container: String,
    /// Its new name
    new_name: String,
}

/// `wait`.
#[derive(Debug, Args)]
pub(crate) struct Wait {
    /// The containers
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Stop {
    /// Stops containers.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        on_each(context, &self.containers, |name| {
            self.how.add(Request::post(&["containers", name, "stop"]))
        })
        .await
    }
}

impl Restart {
    /// Stops containers and starts them again.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        on_each(context, &self.containers, |name| {
            self.how
                .add(Request::post(&["containers", name, "restart"]))
        })
        .await
    }
}

impl Kill {
    /// Sends containers a signal.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        on_each(context, &self.containers, |name| {
            Request::post(&["containers", name, "kill"]).option("signal", self.signal.as_deref())
        })
        .await
    }
}

impl Remove {
    /// Removes containers. With `--force` one that is not there is no failure, as Docker has it.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        each(&self.containers, async |name| {
            let bare = name.trim_matches('/');
            let request = Request::delete(&["containers", bare])
                .flag("force", self.force)
                .flag("link", self.link)
                .flag("v", self.volumes);
            match context.client.run(request).await {
                Err(error) if self.force && error.is_not_found() => {
                    eprintln!("{}", Failure::from(error).chain());
                    Ok(String::new())
                }
                done => Ok(done.map(|()| format!("{name}\n"))?),
            }
        })
        .await
    }
}

impl Rename {
    /// Gives a container another name.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let request = Request::post(&["containers", &self.container, "rename"]);
        Ok(context
            .client
            .run(request.query("name", &self.new_name))
            .await?)
    }
}

impl Wait {
    /// Waits until containers do not run, and prints what they returned.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Waited {
            status_code: i64,
        }
        each(&self.containers, async |name| {
            let request = Request::post(&["containers", name, "wait"]);
            let waited: Waited = context.client.json(request).await?;
            Ok(format!("{}\n", waited.status_code))
        })
        .await
    }
}

/// Sends one request a container, and prints the names of those that it worked for.
async fn on_each(
    context: &Context,
    containers: &[String],
    request: impl Fn(&str) -> Request,
) -> Done {
    each(containers, async |name| {
        context.client.run(request(name)).await?;
        Ok(format!("{name}\n"))
    })
    .await
}
