//! Commands about images: root file systems to run.

mod list;
mod upload;

pub(crate) use list::List;
pub(crate) use upload::{Import, Load};

use super::{Context, Done, output::each};
use crate::client::Request;
use clap::Args;
use serde::Deserialize;

/// `rmi`.
#[derive(Debug, Args)]
pub(crate) struct Remove {
    /// Force removal of the image
    #[arg(short, long)]
    force: bool,
    /// The images
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// `tag`.
#[derive(Debug, Args)]
pub(crate) struct Tag {
    /// The image
    source: String,
    /// Its further name
    target: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Removed {
    untagged: String,
    deleted: String,
}

impl Remove {
    /// Removes names of images, and images without a name left.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        each(&self.images, async |name| {
            let request = Request::delete(&["images", name]).flag("force", self.force);
            let removed: Vec<Removed> = context.client.json(request).await?;
            let lines = removed.iter().map(|one| match one.deleted.as_str() {
                "" => format!("Untagged: {}\n", one.untagged),
                id => format!("Deleted: {id}\n"),
            });
            Ok(lines.collect())
        })
        .await
    }
}

impl Tag {
    /// Gives an image a further name.
    ///
    /// # Errors
    /// As the daemon refuses.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let (repository, tag) = split_reference(&self.target);
        let request = Request::post(&["images", &self.source, "tag"])
            .query("repo", repository)
            .option("tag", tag);
        Ok(context.client.run(request).await?)
    }
}

/// A name and its tag: a colon after the last slash.
fn split_reference(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, Some(tag)),
        _ => (name, None),
    }
}
