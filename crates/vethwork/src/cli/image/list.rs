//! `images`.

use super::split_reference;
use crate::{
    cli::{Context, Done, grammar, shown::Shown},
    client::Request,
    render::{Listing, Row, clock, human_duration, human_size},
};
use clap::Args;
use serde::Deserialize;
use std::time::Duration;

const LISTING: Listing = Listing {
    columns: &[
        ("ID", "IMAGE ID"),
        ("Repository", "REPOSITORY"),
        ("Tag", "TAG"),
        ("CreatedSince", "CREATED"),
        ("CreatedAt", "CREATED AT"),
        ("Size", "SIZE"),
    ],
    table: "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    quiet: "{{.ID}}",
};

/// `images`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show all images
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER", value_parser = grammar::filter)]
    filter: Vec<(String, String)>,
    #[command(flatten)]
    shown: Shown,
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    name: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Image {
    id: String,
    repo_tags: Option<Vec<String>>,
    created: i64,
    size: i64,
}

impl List {
    /// Prints the list.
    ///
    /// # Errors
    /// As the daemon refuses, or the template is wrong.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let mut filters = self.filter.clone();
        filters.extend(
            self.name
                .iter()
                .map(|name| ("reference".to_owned(), name.clone())),
        );
        let request = Request::get(&["images", "json"])
            .flag("all", self.all)
            .filters(&filters);
        let images: Vec<Image> = context.client.json(request).await?;
        let rows = images.iter().flat_map(|image| self.rows(image)).collect();
        self.shown.print(&LISTING, rows)
    }

    /// A line a name; one without any where there is none.
    fn rows(&self, image: &Image) -> Vec<Row> {
        let id = self.shown.id(&image.id);
        let none = ["<none>:<none>".to_owned()];
        let names = match image.repo_tags.as_deref() {
            None | Some([]) => &none,
            Some(names) => names,
        };
        let row = |name: &String| {
            let (repository, tag) = split_reference(name);
            Row::default()
                .field("ID", id)
                .field("Repository", repository)
                .field("Tag", tag.unwrap_or("<none>"))
                .field("CreatedSince", age(image.created))
                .field("CreatedAt", clock::go_time(image.created))
                .field("Size", human_size(image.size as f64))
        };
        names.iter().map(row).collect()
    }
}

/// How long ago an image was made, where that is known.
fn age(created: i64) -> String {
    match u64::try_from(created) {
        Ok(0) | Err(_) => "N/A".to_owned(),
        Ok(created) => {
            let age = clock::now().as_secs().saturating_sub(created);
            format!("{} ago", human_duration(Duration::from_secs(age)))
        }
    }
}
