"""Providers for Terraform that know their schemas and nothing else: enough for `validate`, and for tests with mocked providers.

They speak version 5 of Terraform's plugin protocol on a Unix socket, which TF_REATTACH_PROVIDERS names. There is no client of a cloud in them.
"""
import json, os
from concurrent import futures

import grpc

LIST = 2  # tfplugin5.Schema.NestedBlock.NestingMode
FLAGS = {"required": 4, "optional": 5, "computed": 6, "sensitive": 7}  # fields of tfplugin5.Schema.Attribute


def varint(number):
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + varint(rest) if rest else bytes([low])


def field(number, value):
    """One field of a protobuf message: an integer, or bytes or text with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def type_of(text):
    """`list(string)` as Terraform writes it in JSON: ["list", "string"]."""
    kind, _, inner = text.partition("(")
    return [kind, type_of(inner[:-1])] if inner else kind


def block(members):
    """{"name": "required string", "block": ["1..many", {members}]} as tfplugin5.Schema.Block."""
    message = b""
    for name, what in members.items():
        if isinstance(what, str):
            *flags, kind = what.split()
            message += field(2, field(1, name) + field(2, json.dumps(type_of(kind))) + b"".join(field(FLAGS[it], 1) for it in flags))
        else:
            least, most = what[0].split("..")
            limits = field(4, int(least)) + (b"" if most == "many" else field(5, int(most)))
            message += field(3, field(1, name) + field(2, block(what[1])) + field(3, LIST) + limits)
    return message


def schema(members):
    return field(2, block(members))


class Provider(grpc.GenericRpcHandler):
    def __init__(self, schemas):
        self.schemas = field(1, schema(schemas.get("provider", {})))
        for number, kind in ((2, "resources"), (3, "data")):
            for name, members in schemas.get(kind, {}).items():
                self.schemas += field(number, field(1, name) + field(2, schema(members)))

    def service(self, call):
        answers = {
            "GetSchema": lambda request, _: self.schemas,
            "PrepareProviderConfig": lambda request, _: request,  # the configuration as it came: the same field in both
            "ValidateResourceTypeConfig": lambda request, _: b"",
            "ValidateDataSourceConfig": lambda request, _: b"",
            "Stop": lambda request, _: b"",
        }
        service, _, method = call.method.lstrip("/").partition("/")
        if service == "tfplugin5.Provider" and method in answers:
            return grpc.unary_unary_rpc_method_handler(answers[method])
        return None


def serve(folder, providers):
    """Serves {"hashicorp/name": schemas} below `folder`; the servers, and what TF_REATTACH_PROVIDERS has to be."""
    servers, reattach = [], {}
    for name, schemas in providers.items():
        address = os.path.join(folder, name.replace("/", "-") + ".sock")
        server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[Provider(schemas)])
        server.add_insecure_port("unix:" + address)
        server.start()
        servers.append(server)
        reattach["registry.terraform.io/" + name] = {
            "Protocol": "grpc", "ProtocolVersion": 5, "Pid": os.getpid(), "Test": True, "Addr": {"Network": "unix", "String": address},
        }
    return servers, json.dumps(reattach)
