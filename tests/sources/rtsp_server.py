"""GStreamer's RTSP server: `rtsp_server.py FILM.mp4 PORT [USER PASSWORD]` says its port and serves the film at /live. For a Python that has gi."""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

film, port, *login = sys.argv[1:]
Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(port)
factory = GstRtspServer.RTSPMediaFactory()
factory.set_launch(f'( filesrc location="{film}" ! qtdemux ! rtph264pay name=pay0 config-interval=-1 )')
if login:
    auth, role = GstRtspServer.RTSPAuth(), GstRtspServer.RTSPToken()
    role.set_string("media.factory.role", "viewer")
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(*login), role)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)
    server.set_auth(auth)
server.get_mount_points().add_factory("/live", factory)
if not server.attach(None):
    sys.exit(f"port {port} is taken")
print(server.get_bound_port(), flush=True)
GLib.MainLoop().run()
