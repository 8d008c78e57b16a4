//! Images: the runtime's store, with who uses what.

use crate::{
    Controller,
    command::{
        ImageImport, ImageInspect, ImageList, ImageLoad, ImageRemove, ImageSource, ImageTag,
    },
    event::EventType,
    view::ImageView,
};
use vw_model::{Error, Result};
use vw_runtime::{Image, ImageId, Removed};

impl Controller {
    pub(crate) fn image_import(&self, request: ImageImport) -> Result<ImageView> {
        if !request.message.is_empty() {
            let message =
                "a message for an imported image is not supported by vethwork: leave --message out";
            return Err(Error::new(
                vw_model::Kind::Unsupported,
                "import-message-unsupported",
                message,
            ));
        }
        let name = (!request.name.is_empty()).then_some(request.name.as_str());
        let images = self.runtime.images();
        let image = match request.source {
            ImageSource::Tar(reader) => images.import(reader, name, &request.changes),
            ImageSource::Folder(path) => images.import_directory(&path, name, &request.changes),
        };
        let image = image.map_err(Error::from)?;
        self.tell_image("import", &image);
        Ok(self.view_image(image))
    }

    pub(crate) fn image_load(&self, request: ImageLoad) -> Result<Vec<ImageView>> {
        let images = self
            .runtime
            .images()
            .load(request.archive)
            .map_err(Error::from)?;
        for image in &images {
            self.tell_image("load", image);
        }
        Ok(images
            .into_iter()
            .map(|image| self.view_image(image))
            .collect())
    }

    pub(crate) fn image_list(&self, _: ImageList) -> Result<Vec<ImageView>> {
        let images = self.runtime.images().list().map_err(Error::from)?;
        Ok(images
            .into_iter()
            .map(|image| self.view_image(image))
            .collect())
    }

    pub(crate) fn image_inspect(&self, request: ImageInspect) -> Result<ImageView> {
        let image = self
            .runtime
            .images()
            .get(&request.image)
            .map_err(Error::from)?;
        Ok(self.view_image(image))
    }

    /// Removes an image; answers the names and ids that went, in order.
    pub(crate) fn image_remove(&self, request: ImageRemove) -> Result<Vec<String>> {
        let used_by = |id: &ImageId| {
            let sandboxes = self.registry().sandboxes();
            sandboxes.into_iter().find_map(|sandbox| {
                let state = sandbox.state();
                let record = state.container.as_ref()?;
                (record.image_id == id.to_string())
                    .then(|| (sandbox.id.short(), state.running.is_some()))
            })
        };
        let removed = self
            .runtime
            .images()
            .remove(&request.image, request.force, used_by)
            .map_err(Error::from)?;
        let tell = |what: Removed| {
            let (action, id) = match what {
                Removed::Untagged(name) => ("untag", name.to_string()),
                Removed::Deleted(id) => ("delete", id.to_string()),
            };
            self.tell(EventType::Image, action, &id, [("name", id.clone())]);
            id
        };
        Ok(removed.into_iter().map(tell).collect())
    }

    pub(crate) fn image_tag(&self, request: ImageTag) -> Result<()> {
        self.runtime
            .images()
            .tag(&request.image, &request.name)
            .map_err(Error::from)?;
        let image = self
            .runtime
            .images()
            .get(&request.name)
            .map_err(Error::from)?;
        self.tell_image("tag", &image);
        Ok(())
    }

    fn tell_image(&self, action: &str, image: &Image) {
        let name = image
            .tags
            .first()
            .map_or_else(|| image.id.to_string(), ToString::to_string);
        self.tell(
            EventType::Image,
            action,
            &image.id.to_string(),
            [("name", name)],
        );
    }

    fn view_image(&self, image: Image) -> ImageView {
        let id = image.id.to_string();
        let sandboxes = self.registry().sandboxes();
        let uses = |s: &std::sync::Arc<crate::registry::Sandbox>| {
            s.state()
                .container
                .as_ref()
                .is_some_and(|record| record.image_id == id)
        };
        ImageView {
            containers: sandboxes.iter().filter(|s| uses(s)).count(),
            id,
            tags: image.tags.iter().map(ToString::to_string).collect(),
            created: image.made(),
            size: image.size,
            config: serde_json::to_value(&image.config).unwrap_or_default(),
            architecture: image.architecture,
            os: image.os,
            layers: image.layers.iter().map(ToString::to_string).collect(),
        }
    }
}
