//! `POST /containers/create` into a command.

use super::{
    config::{Config, CreateRequest, HostConfig, RestartPolicy as RestartRequest, Words},
    mounts,
    network_mode::{self, Networks},
    refuse, sandbox, sysctls,
};
use crate::{errors::ApiError, version::ApiVersion};
use vw_controller::command::{ContainerCreate, NetworkMode, SandboxRequest};
use vw_model::{ContainerName, ContainerSpec, ResourceLimits, RestartPolicy, Ulimit};

/// Docker's own lower bound, below which no container starts.
const LEAST_MEMORY: i64 = 6 << 20;
/// Docker's default size of `/dev/shm`.
const SHM_SIZE: i64 = 64 << 20;

/// The command, and warnings to add to its answer.
///
/// # Errors
/// 400 with Docker's sentences for what is malformed, 501 by name for what has no effect here.
pub(super) fn command(
    name: &str,
    request: CreateRequest,
    version: ApiVersion,
) -> Result<(ContainerCreate, Vec<String>), ApiError> {
    let CreateRequest {
        config,
        host_config,
        networking_config,
    } = request;
    if config == Config::default() {
        let message = "config cannot be empty in order to create a container";
        return Err(ApiError::bad_request(message));
    }
    if config.image.is_empty() {
        return Err(ApiError::bad_request(
            "no image specified: name one in Image",
        ));
    }
    let host = host_config.unwrap_or_default();
    refuse::unsupported(&config, &host)?;
    let networking = networking_config.unwrap_or_default();
    let mut networks = network_mode::networks(&config, &host, networking, version)?;
    check_links(&host, &networks)?;
    let mut container = container(&config, &host, version)?;
    networks.warnings.extend(sysctls::migrate(
        &mut container.sysctls,
        &mut networks.list,
        version,
    )?);
    let Networks {
        mode,
        text,
        list,
        warnings,
    } = networks;
    let sandbox = SandboxRequest {
        networks: list,
        ..sandbox::request(&config, &host)?
    };
    let command = ContainerCreate {
        name: container_name(name)?,
        container,
        sandbox,
        mode,
        host_config: echo(&completed(host, &text))?,
        config: echo(&config)?,
        mode_text: text,
    };
    Ok((command, warnings))
}

/// A container's name, which Docker's own clients may lead with a slash.
///
/// # Errors
/// 400 with Docker's sentence.
pub(crate) fn container_name(text: &str) -> Result<Option<ContainerName>, ApiError> {
    let bare = text.strip_prefix('/').unwrap_or(text);
    if bare.is_empty() {
        return Ok(None);
    }
    Ok(Some(bare.parse()?))
}

/// Links of the default network inject environment variables, which nothing here does; on other
/// networks the engine reads them from the endpoint alone.
fn check_links(host: &HostConfig, networks: &Networks) -> Result<(), ApiError> {
    let links = host.links.as_ref().is_some_and(|links| !links.is_empty());
    if links && networks.mode == NetworkMode::Networks && networks.text == "bridge" {
        let why = "use a network of your own, where containers find each other by name";
        return Err(ApiError::unsupported_option("Links", why));
    }
    Ok(())
}

fn container(
    config: &Config,
    host: &HostConfig,
    version: ApiVersion,
) -> Result<ContainerSpec, ApiError> {
    let restart = restart_policy(&host.restart_policy)?;
    if host.auto_remove && restart != RestartPolicy::No {
        let message = "can't create 'AutoRemove' container with restart policy";
        return Err(ApiError::bad_request(message));
    }
    let security = security(host)?;
    let env = config.env.clone().unwrap_or_default();
    if let Some(bad) = env
        .iter()
        .find(|pair| pair.is_empty() || pair.starts_with('='))
    {
        return Err(ApiError::bad_request(format!(
            "invalid environment variable: {bad}"
        )));
    }
    Ok(ContainerSpec {
        image: config.image.clone(),
        entrypoint: config.entrypoint.as_ref().map(entrypoint),
        cmd: config
            .cmd
            .as_ref()
            .map(|words| words.0.clone())
            .unwrap_or_default(),
        env,
        working_dir: config.working_dir.clone(),
        user: config.user.clone(),
        groups: host.group_add.clone().unwrap_or_default(),
        tty: config.tty,
        open_stdin: config.open_stdin,
        stdin_once: config.stdin_once,
        mounts: mounts::all(host, version)?,
        restart,
        auto_remove: host.auto_remove,
        privileged: host.privileged,
        no_new_privileges: security.no_new_privileges,
        seccomp_unconfined: security.seccomp_unconfined,
        shm_size: host.shm_size,
        cap_add: host.cap_add.clone().unwrap_or_default(),
        cap_drop: host.cap_drop.clone().unwrap_or_default(),
        read_only: host.readonly_rootfs,
        init: host.init.unwrap_or_default(),
        sysctls: host.sysctls.clone(),
        stop_signal: config.stop_signal.clone(),
        stop_timeout: config
            .stop_timeout
            .and_then(|seconds| u32::try_from(seconds).ok()),
        limits: limits(host)?,
    })
}

/// `--entrypoint ""` comes as one empty word and means none.
fn entrypoint(words: &Words) -> Vec<String> {
    match words.0.as_slice() {
        [only] if only.is_empty() => Vec::new(),
        words => words.to_vec(),
    }
}

fn limits(host: &HostConfig) -> Result<ResourceLimits, ApiError> {
    if host.memory < 0 || (host.memory > 0 && host.memory < LEAST_MEMORY) {
        return Err(ApiError::bad_request("Minimum memory limit allowed is 6MB"));
    }
    if host.nano_cpus < 0 || host.cpu_shares < 0 || host.shm_size < 0 {
        return Err(ApiError::bad_request(
            "NanoCpus, CpuShares and ShmSize must not be negative",
        ));
    }
    let side = |limit: i64| u64::try_from(limit).unwrap_or(u64::MAX);
    let ulimits = host.ulimits.iter().flatten();
    let ulimits = ulimits
        .map(|limit| Ulimit {
            name: limit.name.clone(),
            soft: side(limit.soft),
            hard: side(limit.hard),
        })
        .collect();
    Ok(ResourceLimits {
        memory: host.memory,
        nano_cpus: host.nano_cpus,
        cpu_shares: host.cpu_shares,
        pids: host.pids_limit.unwrap_or_default().max(0),
        ulimits,
    })
}

struct Security {
    no_new_privileges: bool,
    seccomp_unconfined: bool,
}

/// `SecurityOpt`. Unconfining what is not there changes nothing and is accepted.
fn security(host: &HostConfig) -> Result<Security, ApiError> {
    let mut security = Security {
        no_new_privileges: false,
        seccomp_unconfined: false,
    };
    for option in host.security_opt.iter().flatten() {
        match option.replacen(':', "=", 1).as_str() {
            "no-new-privileges" | "no-new-privileges=true" => security.no_new_privileges = true,
            "no-new-privileges=false" => security.no_new_privileges = false,
            "seccomp=unconfined" => security.seccomp_unconfined = true,
            "apparmor=unconfined" | "label=disable" => {}
            _ => {
                let name = format!("SecurityOpt {option:?}");
                let why = "use no-new-privileges or seccomp=unconfined";
                return Err(ApiError::unsupported_option(&name, why));
            }
        }
    }
    Ok(security)
}

/// `RestartPolicy`, checked as moby's `ValidateRestartPolicy` does.
fn restart_policy(request: &RestartRequest) -> Result<RestartPolicy, ApiError> {
    let retries = request.maximum_retry_count;
    let policy = match request.name.as_str() {
        "" => return Ok(RestartPolicy::No),
        "no" => RestartPolicy::No,
        "always" => RestartPolicy::Always,
        "unless-stopped" => RestartPolicy::UnlessStopped,
        "on-failure" => {
            let max_retries = u32::try_from(retries).map_err(|_| {
                ApiError::bad_request(
                    "invalid restart policy: maximum retry count cannot be negative",
                )
            })?;
            return Ok(RestartPolicy::OnFailure { max_retries });
        }
        other => {
            return Err(ApiError::bad_request(format!(
                "invalid restart policy: unknown policy '{other}'; use one of 'no', 'always', \
                 'on-failure', or 'unless-stopped'"
            )));
        }
    };
    if retries != 0 {
        let negative = if retries < 0 {
            " and cannot be negative"
        } else {
            ""
        };
        return Err(ApiError::bad_request(format!(
            "invalid restart policy: maximum retry count can only be used with \
             'on-failure'{negative}"
        )));
    }
    Ok(policy)
}

/// What inspect shows where nothing was given: the values that took effect.
fn completed(mut host: HostConfig, mode: &str) -> HostConfig {
    let fill = |text: &mut String, value: &str| {
        if text.is_empty() {
            value.clone_into(text);
        }
    };
    mode.clone_into(&mut host.network_mode);
    fill(&mut host.restart_policy.name, "no");
    fill(&mut host.log_config.r#type, "json-file");
    fill(&mut host.ipc_mode, "private");
    fill(&mut host.cgroupns_mode, "private");
    if host.shm_size == 0 {
        host.shm_size = SHM_SIZE;
    }
    host.pids_limit = host.pids_limit.filter(|limit| *limit > 0);
    host
}

fn echo(value: &impl serde::Serialize) -> Result<serde_json::Value, ApiError> {
    serde_json::to_value(value)
        .map_err(|error| ApiError::internal(format!("cannot keep the configuration: {error}")))
}

#[cfg(test)]
mod tests;
