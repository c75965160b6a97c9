"""The messages of Envoy's rate limit service, of gRPC's health and of its reflection, by the real protobuf library.

They are made at run time from the table below: (message, [(number, name, type)]), where a type is one of protobuf's, another message
or an enumeration, and * says repeated.
"""
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

F = descriptor_pb2.FieldDescriptorProto
TYPES = {"string": F.TYPE_STRING, "bytes": F.TYPE_BYTES, "uint32": F.TYPE_UINT32, "int32": F.TYPE_INT32,
         "uint64": F.TYPE_UINT64, "int64": F.TYPE_INT64, "bool": F.TYPE_BOOL}

MESSAGES = [
    ("envoy.Entry", [(1, "key", "string"), (2, "value", "string")]),
    ("envoy.Override", [(1, "requests_per_unit", "uint32"), (2, "unit", "int32")]),
    ("envoy.UInt64Value", [(1, "value", "uint64")]),
    ("envoy.Descriptor", [(1, "entries", "*envoy.Entry"), (2, "limit", "envoy.Override"),
                          (3, "hits_addend", "envoy.UInt64Value"), (4, "is_negative_hits", "bool")]),
    ("envoy.Request", [(1, "domain", "string"), (2, "descriptors", "*envoy.Descriptor"), (3, "hits_addend", "uint32")]),
    ("envoy.RateLimit", [(1, "requests_per_unit", "uint32"), (2, "unit", "int32"), (3, "name", "string")]),
    ("envoy.Duration", [(1, "seconds", "int64"), (2, "nanos", "int32")]),
    ("envoy.Status", [(1, "code", "int32"), (2, "current_limit", "envoy.RateLimit"), (3, "limit_remaining", "uint32"),
                      (4, "duration_until_reset", "envoy.Duration")]),
    ("envoy.Header", [(1, "key", "string"), (2, "value", "string")]),
    ("envoy.Response", [(1, "overall_code", "int32"), (2, "statuses", "*envoy.Status"),
                        (3, "response_headers_to_add", "*envoy.Header"),
                        (4, "request_headers_to_add", "*envoy.Header")]),
    ("health.Request", [(1, "service", "string")]),
    ("health.Response", [(1, "status", "int32")]),
    ("xds.Value", [(3, "string_value", "string")]),
    ("xds.Field", [(1, "key", "string"), (2, "value", "xds.Value")]),
    ("xds.Struct", [(1, "fields", "*xds.Field")]),
    ("xds.Node", [(1, "id", "string"), (3, "metadata", "xds.Struct")]),
    ("xds.Status", [(1, "code", "int32"), (2, "message", "string")]),
    ("xds.Request", [(1, "version_info", "string"), (2, "node", "xds.Node"), (3, "resource_names", "*string"), (4, "type_url", "string"),
                     (5, "response_nonce", "string"), (6, "error_detail", "xds.Status")]),
    ("xds.Any", [(1, "type_url", "string"), (2, "value", "bytes")]),
    ("xds.Response", [(1, "version_info", "string"), (2, "resources", "*xds.Any"), (3, "canary", "bool"), (4, "type_url", "string"),
                      (5, "nonce", "string")]),
    ("xds.Replace", [(1, "name", "string")]),
    ("xds.Policy", [(1, "unit", "int32"), (2, "requests_per_unit", "uint32"), (3, "unlimited", "bool"), (4, "name", "string"),
                    (5, "replaces", "*xds.Replace")]),
    ("xds.Descriptor", [(1, "key", "string"), (2, "value", "string"), (3, "rate_limit", "xds.Policy"),
                        (4, "descriptors", "*xds.Descriptor"), (5, "shadow_mode", "bool"),
                        (6, "detailed_metric", "bool"), (7, "quota_mode", "bool")]),
    ("xds.Config", [(1, "name", "string"), (2, "domain", "string"), (3, "descriptors", "*xds.Descriptor")]),
    ("reflection.Request", [(1, "host", "string"), (3, "file_by_filename", "string"),
                            (4, "file_containing_symbol", "string"), (7, "list_services", "string")]),
    ("reflection.File", [(1, "file_descriptor_proto", "*bytes")]),
    ("reflection.Service", [(1, "name", "string")]),
    ("reflection.Services", [(1, "service", "*reflection.Service")]),
    ("reflection.Error", [(1, "error_code", "int32"), (2, "error_message", "string")]),
    ("reflection.Response", [(4, "file_descriptor_response", "reflection.File"),
                             (6, "list_services_response", "reflection.Services"),
                             (7, "error_response", "reflection.Error")]),
]


def _make():
    file = descriptor_pb2.FileDescriptorProto(name="table.proto", package="t", syntax="proto3")
    for name, fields in MESSAGES:
        message = file.message_type.add(name=name.replace(".", "_"))
        for number, field_name, kind in fields:
            field = message.field.add(number=number, name=field_name, label=F.LABEL_OPTIONAL)
            if kind.startswith("*"):
                field.label = F.LABEL_REPEATED
            kind = kind.lstrip("*")
            if kind in TYPES:
                field.type = TYPES[kind]
            else:
                field.type = F.TYPE_MESSAGE
                field.type_name = ".t." + kind.replace(".", "_")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = {}
    for name, _ in MESSAGES:
        descriptor = pool.FindMessageTypeByName("t." + name.replace(".", "_"))
        made[name] = message_factory.MessageFactory(pool).GetPrototype(descriptor)
    return made


_made = _make()
Entry, Descriptor, Request, Response = (_made["envoy." + n] for n in ("Entry", "Descriptor", "Request", "Response"))
HealthRequest, HealthResponse = _made["health.Request"], _made["health.Response"]
XdsRequest, XdsResponse, XdsConfig = _made["xds.Request"], _made["xds.Response"], _made["xds.Config"]
ReflectionRequest, ReflectionResponse = _made["reflection.Request"], _made["reflection.Response"]

OK, OVER = 1, 2
SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, WEEK = 1, 2, 3, 4, 5, 6, 7

SHOULD_RATE_LIMIT = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit"


def request(domain, *descriptors, addend=0):
    """descriptors: lists of (key, value), or Descriptor messages."""
    made = Request(domain=domain, hits_addend=addend)
    for descriptor in descriptors:
        made.descriptors.append(descriptor if isinstance(descriptor, Descriptor) else entries(*descriptor))
    return made


def entries(*pairs, hits=None, limit=None, back=False):
    """hits: the descriptor's own addend; limit: (requests_per_unit, unit) that it brings; back: it gives them back."""
    made = Descriptor(is_negative_hits=back)
    for key, value in pairs:
        made.entries.add(key=key, value=value)
    if hits is not None:
        made.hits_addend.value = hits
        made.hits_addend.SetInParent()
    if limit is not None:
        made.limit.requests_per_unit, made.limit.unit = limit
        made.limit.SetInParent()
    return made


def caller(channel, path, answer, kind="unary_unary"):
    return getattr(channel, kind)(path, request_serializer=lambda m: m if isinstance(m, bytes) else m.SerializeToString(),
                                  response_deserializer=answer.FromString)
