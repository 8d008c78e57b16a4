//! `ps`.

use crate::{
    cli::{Context, Done, grammar, output::print},
    client::Request,
    render::{
        Listing, Port, Row, clock, displayable_ports, ellipsis, human_duration, human_size,
        short_id,
    },
};
use clap::Args;
use serde::Deserialize;
use std::{collections::BTreeMap, time::Duration};

const COLUMNS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Ports", "PORTS"),
    ("State", "STATE"),
    ("Status", "STATUS"),
    ("Size", "SIZE"),
    ("Names", "NAMES"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
];
const TABLE: &str =
    "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const TABLE_WITH_SIZE: &str = "{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

/// `ps`.
#[derive(Debug, Args)]
pub(crate) struct List {
    /// Show all containers (default shows just running)
    #[arg(short, long)]
    all: bool,
    /// Filter output based on conditions provided
    #[arg(short, long, value_name = "FILTER", value_parser = grammar::filter)]
    filter: Vec<(String, String)>,
    /// Format output: 'table', 'table TEMPLATE', 'json', or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Show n last created containers (includes all states)
    #[arg(short = 'n', long, value_name = "N", allow_negative_numbers = true)]
    last: Option<i64>,
    /// Show the latest created container (includes all states)
    #[arg(short, long)]
    latest: bool,
    /// Don't truncate output
    #[arg(long)]
    no_trunc: bool,
    /// Only display container IDs
    #[arg(short, long)]
    quiet: bool,
    /// Display total file sizes
    #[arg(short, long)]
    size: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Container {
    id: String,
    names: Vec<String>,
    image: String,
    #[serde(rename = "ImageID")]
    image_id: String,
    command: String,
    created: i64,
    ports: Option<Vec<Port>>,
    labels: Option<BTreeMap<String, String>>,
    state: String,
    status: String,
    size_rw: i64,
    size_root_fs: i64,
    mounts: Option<Vec<Mount>>,
    network_settings: Option<NetworkSettings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    name: String,
    source: String,
    driver: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    networks: Option<BTreeMap<String, serde_json::Value>>,
}

impl List {
    /// Prints the list.
    ///
    /// # Errors
    /// As the daemon refuses, or the template is wrong.
    pub(crate) async fn run(&self, context: &Context) -> Done {
        let format = self.format.as_deref();
        let sized = self.size || format.is_some_and(|format| format.contains(".Size"));
        let limit = if self.latest {
            Some(1)
        } else {
            self.last.filter(|last| *last > 0)
        };
        let request = Request::get(&["containers", "json"])
            .flag("all", self.all)
            .option("limit", limit)
            .filters(&self.filter)
            .flag("size", sized);
        let containers: Vec<Container> = context.client.json(request).await?;
        let rows = containers
            .iter()
            .map(|container| self.row(container))
            .collect();
        let table = if self.size { TABLE_WITH_SIZE } else { TABLE };
        let listing = Listing {
            columns: COLUMNS,
            table,
            quiet: "{{.ID}}",
        };
        print(&listing.render(format, self.quiet, rows)?)
    }

    fn row(&self, container: &Container) -> Row {
        let mut command = container.command.clone();
        let mut mounts: Vec<String> = container.mounts().map(str::to_owned).collect();
        let mut id = container.id.as_str();
        if !self.no_trunc {
            command = ellipsis(&command, 20);
            mounts = mounts.iter().map(|mount| ellipsis(mount, 15)).collect();
            id = short_id(id);
        }
        let age = clock::now()
            .as_secs()
            .saturating_sub(container.created.max(0).unsigned_abs());
        let networks = container
            .network_settings
            .iter()
            .flat_map(|settings| &settings.networks);
        let networks: Vec<&str> = networks
            .flat_map(|map| map.keys().map(String::as_str))
            .collect();
        let volumes = container
            .mounts
            .iter()
            .flatten()
            .filter(|mount| mount.driver == "local");
        Row::default()
            .field("ID", id)
            .field("Image", container.image(self.no_trunc))
            .field("Command", format!("{command:?}"))
            .field("CreatedAt", clock::go_time(container.created))
            .field(
                "RunningFor",
                format!("{} ago", human_duration(Duration::from_secs(age))),
            )
            .field(
                "Ports",
                displayable_ports(container.ports.as_deref().unwrap_or_default()),
            )
            .field("State", &container.state)
            .field("Status", &container.status)
            .field("Size", container.size())
            .field("Names", container.names(self.no_trunc))
            .field("Mounts", mounts.join(","))
            .field("LocalVolumes", volumes.count().to_string())
            .field("Networks", networks.join(","))
            .labels(container.labels.as_ref().unwrap_or(&BTreeMap::new()))
    }
}

impl Container {
    fn names(&self, full: bool) -> String {
        let names = self
            .names
            .iter()
            .map(|name| name.strip_prefix('/').unwrap_or(name));
        // Names with a further slash are aliases that links made.
        names
            .filter(|name| full || !name.contains('/'))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// The image's name; an image that is only an id is shown by its short one.
    fn image(&self, full: bool) -> String {
        if self.image.is_empty() {
            return "<no image>".to_owned();
        }
        let bare = self.image.strip_prefix("sha256:").unwrap_or(&self.image);
        let by_id = !self.image_id.is_empty() && short_id(&self.image_id) == short_id(bare);
        if !full && by_id {
            short_id(bare).to_owned()
        } else {
            self.image.clone()
        }
    }

    fn size(&self) -> String {
        let own = human_size(self.size_rw as f64);
        if self.size_root_fs > 0 {
            return format!("{own} (virtual {})", human_size(self.size_root_fs as f64));
        }
        own
    }

    fn mounts(&self) -> impl Iterator<Item = &str> {
        self.mounts.iter().flatten().map(|mount| {
            if mount.name.is_empty() {
                mount.source.as_str()
            } else {
                mount.name.as_str()
            }
        })
    }
}
