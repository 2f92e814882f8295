import com.fasterxml.jackson.databind.DeserializationConfig;
import com.fasterxml.jackson.databind.JavaType;
import com.fasterxml.jackson.databind.JsonDeserializer;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.deser.BeanDeserializerBase;
import com.fasterxml.jackson.databind.deser.DefaultDeserializationContext;
import com.fasterxml.jackson.databind.deser.SettableBeanProperty;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.lang.reflect.AnnotatedElement;
import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Deque;
import java.util.Iterator;
import java.util.List;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import org.keycloak.util.JsonSerialization;

/**
 * Prints what Keycloak's admin API reads, as JSON: {class: {field: {"type": TYPE, "deprecated": true}}}.
 *
 * <p>A TYPE is {"is": "string" | "bool" | "int" | "number" | "any"}, {"is": "enum", "values": [...]}, {"is": "list", "of": TYPE},
 * {"is": "map", "of": TYPE}, {"is": "strings"} for one string or a list of them, or {"is": "class", "name": the Java name}. It is Jackson's own view of the classes, since that is what
 * decides whether a body is taken: several fields have no setter, or one of another name.
 *
 * <p>Standard error tells which roots this version doesn't have, and which types are read by code that can't be looked into.
 */
public class Representations {

    /** Everything else is reached from these. Where a version lacks one, it is left out. */
    static final List<String> ROOTS = List.of(
            "org.keycloak.representations.idm.RealmRepresentation",
            "org.keycloak.representations.idm.UserRepresentation",
            "org.keycloak.representations.idm.OrganizationRepresentation",
            "org.keycloak.representations.idm.MemberRepresentation",
            "org.keycloak.representations.idm.ComponentRepresentation",
            "org.keycloak.representations.idm.RealmEventsConfigRepresentation",
            "org.keycloak.representations.idm.MappingsRepresentation",
            "org.keycloak.representations.idm.AuthenticationExecutionRepresentation",
            "org.keycloak.representations.idm.AuthenticationExecutionInfoRepresentation",
            "org.keycloak.representations.idm.RequiredActionConfigRepresentation",
            "org.keycloak.representations.idm.ManagementPermissionReference",
            "org.keycloak.representations.idm.authorization.PolicyRepresentation",
            "org.keycloak.representations.idm.authorization.AggregatePolicyRepresentation",
            "org.keycloak.representations.idm.authorization.ClientPolicyRepresentation",
            "org.keycloak.representations.idm.authorization.ClientScopePolicyRepresentation",
            "org.keycloak.representations.idm.authorization.GroupPolicyRepresentation",
            "org.keycloak.representations.idm.authorization.JSPolicyRepresentation",
            "org.keycloak.representations.idm.authorization.RegexPolicyRepresentation",
            "org.keycloak.representations.idm.authorization.ResourcePermissionRepresentation",
            "org.keycloak.representations.idm.authorization.RolePolicyRepresentation",
            "org.keycloak.representations.idm.authorization.ScopePermissionRepresentation",
            "org.keycloak.representations.idm.authorization.TimePolicyRepresentation",
            "org.keycloak.representations.idm.authorization.UserPolicyRepresentation",
            "org.keycloak.representations.userprofile.config.UPConfig",
            "org.keycloak.representations.workflows.WorkflowRepresentation");

    /** Deserializers for maps of lists whose serializer writes a list of one as a plain string, so that both forms are met. */
    static final Set<String> ONE_OR_MORE = Set.of("MultivaluedHashMapValueDeserializer");

    static final Set<Class<?>> INTEGERS = Set.of(byte.class, Byte.class, short.class, Short.class, int.class, Integer.class,
            long.class, Long.class, java.math.BigInteger.class);
    static final Set<Class<?>> NUMBERS = Set.of(float.class, Float.class, double.class, Double.class, java.math.BigDecimal.class);
    static final Set<Class<?>> STRINGS = Set.of(String.class, char.class, Character.class, byte[].class, java.util.UUID.class, java.net.URI.class);

    final ObjectMapper mapper = JsonSerialization.mapper;
    final Deque<JavaType> pending = new ArrayDeque<>();
    final Set<String> seen = new TreeSet<>();

    public static void main(String[] args) throws Exception {
        System.out.println(new Representations().all().toPrettyString());
    }

    ObjectNode all() throws Exception {
        for (String root : ROOTS) {
            try {
                reach(mapper.constructType(Class.forName(root)));
            } catch (ClassNotFoundException absent) {
                System.err.println("not in this version: " + root);
            }
        }
        TreeMap<String, ObjectNode> classes = new TreeMap<>();
        while (!pending.isEmpty()) {
            JavaType type = pending.remove();
            classes.put(type.getRawClass().getName(), fields(type));
        }
        ObjectNode out = mapper.createObjectNode();
        classes.forEach(out::set);
        return out;
    }

    void reach(JavaType type) {
        if (seen.add(type.getRawClass().getName())) {
            pending.add(type);
        }
    }

    ObjectNode fields(JavaType type) throws Exception {
        TreeMap<String, ObjectNode> fields = new TreeMap<>();
        Iterator<SettableBeanProperty> properties = ((BeanDeserializerBase) deserializer(type)).properties();
        while (properties.hasNext()) {
            SettableBeanProperty property = properties.next();
            ObjectNode field = mapper.createObjectNode();
            field.set("type", shape(property));
            if (deprecated(property)) {
                field.put("deprecated", true);
            }
            fields.put(property.getName(), field);
        }
        ObjectNode out = mapper.createObjectNode();
        fields.forEach(out::set);
        return out;
    }

    ObjectNode shape(SettableBeanProperty property) throws Exception {
        if (ONE_OR_MORE.contains(property.getValueDeserializer().getClass().getSimpleName())) {
            ObjectNode out = mapper.createObjectNode().put("is", "map");
            out.set("of", mapper.createObjectNode().put("is", "strings"));
            return out;
        }
        return shape(property.getType().hasRawClass(JsonNode.class) ? parsedLater(property) : property.getType());
    }

    /** Client policies and profiles are kept as a JsonNode at first; their getParsed… says what is made of it. */
    JavaType parsedLater(SettableBeanProperty property) {
        try {
            Method getter = property.getMember().getDeclaringClass().getMethod("getParsed" + capital(property.getName()));
            return mapper.constructType(getter.getGenericReturnType());
        } catch (NoSuchMethodException none) {
            return property.getType();
        }
    }

    ObjectNode shape(JavaType type) throws Exception {
        Class<?> raw = type.getRawClass();
        ObjectNode out = mapper.createObjectNode();
        if (STRINGS.contains(raw)) {
            return out.put("is", "string");
        }
        if (raw == boolean.class || raw == Boolean.class) {
            return out.put("is", "bool");
        }
        if (INTEGERS.contains(raw)) {
            return out.put("is", "int");
        }
        if (NUMBERS.contains(raw)) {
            return out.put("is", "number");
        }
        if (raw == Object.class || JsonNode.class.isAssignableFrom(raw)) {
            return out.put("is", "any");
        }
        if (type.isEnumType()) {
            out.put("is", "enum");
            for (Object constant : raw.getEnumConstants()) {
                out.withArray("values").add(mapper.valueToTree(constant).asText());
            }
            return out;
        }
        if (type.isMapLikeType() || type.isCollectionLikeType() || type.isArrayType()) {
            out.put("is", type.isMapLikeType() ? "map" : "list");
            out.set("of", shape(type.getContentType()));
            return out;
        }
        if (deserializer(type) instanceof BeanDeserializerBase) {
            reach(type);
            return out.put("is", "class").put("name", raw.getName());
        }
        System.err.println("read by its own code, so taken as anything: " + raw.getName());
        return out.put("is", "any");
    }

    JsonDeserializer<Object> deserializer(JavaType type) throws Exception {
        DeserializationConfig config = mapper.getDeserializationConfig();
        DefaultDeserializationContext context = ((DefaultDeserializationContext) mapper.getDeserializationContext())
                .createInstance(config, mapper.getFactory().createParser("{}"), null);
        return context.findRootValueDeserializer(type);
    }

    /** A property counts as deprecated when its field, its getter or its setter is. */
    static boolean deprecated(SettableBeanProperty property) {
        String name = property.getName();
        Set<String> accessors = Set.of("get" + capital(name), "is" + capital(name), "set" + capital(name));
        Collection<AnnotatedElement> elements = new ArrayList<>();
        elements.add(property.getMember().getAnnotated());
        for (Class<?> c = property.getMember().getDeclaringClass(); c != null && c != Object.class; c = c.getSuperclass()) {
            for (Field field : c.getDeclaredFields()) {
                if (field.getName().equals(name)) {
                    elements.add(field);
                }
            }
            for (Method method : c.getDeclaredMethods()) {
                if (accessors.contains(method.getName())) {
                    elements.add(method);
                }
            }
        }
        return elements.stream().anyMatch(e -> e != null && e.isAnnotationPresent(Deprecated.class));
    }

    static String capital(String name) {
        return name.isEmpty() ? name : Character.toUpperCase(name.charAt(0)) + name.substring(1);
    }
}
