//! Which part of the controller carries out which command.

use crate::{
    Command, Controller,
    command::*,
    view::{
        ClusterView, ContainerView, Created, ExecView, ImageView, InfoView, NetworkView, Pruned,
        ServiceView, WaitView,
    },
};
use std::sync::mpsc::Receiver;
use vw_model::{Result, SandboxId};

macro_rules! commands {
    ($($command:ty => $operation:literal, $method:ident -> $output:ty;)*) => {$(
        impl Command for $command {
            type Output = $output;
            const OPERATION: &'static str = $operation;

            fn run(self, controller: &Controller) -> Result<$output> {
                controller.$method(self)
            }
        }
    )*};
}

commands! {
    NetworkCreate => "network create", network_create -> Created;
    NetworkInspect => "network inspect", network_inspect -> NetworkView;
    NetworkList => "network ls", network_list -> Vec<NetworkView>;
    NetworkRemove => "network rm", network_remove -> ();
    NetworkPrune => "network prune", network_prune -> Pruned;
    ClusterStatus => "cluster status", cluster_status -> ClusterView;
    ClusterForget => "cluster forget", cluster_forget -> ();
    Connect => "network connect", connect -> ();
    Disconnect => "network disconnect", disconnect -> ();
    Adopt => "adopt", adopt -> Created;
    Release => "release", release -> SandboxId;
    ContainerCreate => "create", container_create -> Created;
    ContainerStart => "start", container_start -> ();
    ContainerStop => "stop", container_stop -> ();
    ContainerRestart => "restart", container_restart -> ();
    ContainerKill => "kill", container_kill -> ();
    ContainerRemove => "rm", container_remove -> ();
    ContainerRename => "rename", container_rename -> ();
    ContainerInspect => "inspect", container_inspect -> ContainerView;
    ContainerList => "ps", container_list -> Vec<ContainerView>;
    ContainerWait => "wait", container_wait -> Receiver<Option<WaitView>>;
    ContainerLogs => "logs", container_logs -> Attached;
    ContainerAttach => "attach", container_attach -> Attached;
    ContainerResize => "resize", container_resize -> ();
    ExecCreate => "exec create", exec_create -> String;
    ExecStart => "exec start", exec_start -> Option<Attached>;
    ExecResize => "exec resize", exec_resize -> ();
    ExecInspect => "exec inspect", exec_inspect -> ExecView;
    ImageImport => "import", image_import -> ImageView;
    ImageLoad => "load", image_load -> Vec<ImageView>;
    ImageList => "images", image_list -> Vec<ImageView>;
    ImageInspect => "image inspect", image_inspect -> ImageView;
    ImageRemove => "rmi", image_remove -> Vec<String>;
    ImageTag => "tag", image_tag -> ();
    Info => "info", info -> InfoView;
    ServiceCreate => "service create", service_create -> Created;
    ServiceList => "service ls", service_list -> Vec<ServiceView>;
    ServiceInspect => "service inspect", service_inspect -> ServiceView;
    ServiceUpdate => "service update", service_update -> Vec<String>;
    ServiceRemove => "service rm", service_remove -> ();
    ServiceReport => "service report", service_report -> ();
}
