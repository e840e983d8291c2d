{# A model's schema is what its folder says. dbt's own macro would write main_marts; locally it is ada_marts. #}
{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ var('schema_prefix', '') ~ (custom_schema_name or target.schema) | trim }}
{%- endmacro %}
